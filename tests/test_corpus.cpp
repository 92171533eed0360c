// Corpus: the dictionary's typesetting is undone, documents survive cutting and joining, the shuffle is
// portable.
#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/error.h"
#include "tests/temporary_directory.h"
#include "training/corpus.h"

using namespace ld;

namespace {

using Documents = std::vector<std::string>;

// One entry as the dictionary sets it, behind a header as it has one.
std::string cleaned(const std::string& entry) {
  const Documents entries = dictionary_entries(
      "\n\n00-database-short\n   The Dictionary\n\n00-database-info\n   This file\n\nIt is free.\n\n   text "
      "--Locke.\n" +
      entry);
  REQUIRE(entries.size() == 1);
  return entries[0];
}

}  // namespace

TEST_CASE("dictionary: an entry reads as English") {
  CHECK(cleaned("Lead \\Lead\\ (l[e^]d), n. [OE. led, AS. le['a]d; akin\n"
                "   to D. lood. [root]123.]\n"
                "   1. (Chem.) One of the elements, a heavy\n"
                "      metal.\n"
                "      [1913 Webster]\n\n"
                "            I would have the tower two stories, and goodly\n"
                "            leads upon the top.                  --Bacon (Luke\n"
                "                                                  2. 4.)\n"
                "      [1913 Webster +PJC]\n\n"
                "   2. An article of lead; as:\n"
                "      (a) A plummet. [Obs.]\n"
                "      (b) A thin strip.\n\n"
                "   {Black lead}, graphite.\n"
                "   [WordNet 1.5] Leaden\n\n") ==
        "Lead, n. [OE. led, AS. leád; akin to D. lood. √123.]\n"
        "1. (Chem.) One of the elements, a heavy metal.\n"
        "I would have the tower two stories, and goodly leads upon the top. --Bacon (Luke\n"  // "2. " = sense
                                                                                              // 1 + 1
        "2. 4.)\n"
        "2. An article of lead; as:\n"
        "(a) A plummet. [Obs.]\n"
        "(b) A thin strip.\n"
        "Black lead, graphite.");
}

TEST_CASE("dictionary: heads of several words and lines") {
  CHECK(cleaned("Aaronic \\Aa*ron\"ic\\ ([asl]*r[o^]n\"[i^]k), Aaronical\n"
                "\\Aa*ron\"ic*al\\ (-[i^]*kal), a.\n   Pertaining to Aaron.\n") ==
        "Aaronic, Aaronical, a. Pertaining to Aaron.");
  CHECK(cleaned("antidis\n\\an`ti*dis\\ n.\n   A word.\n") == "antidis n. A word.");
  CHECK(cleaned("Zoo \\Zoo\\ [Gr. x.] (Zool.)\n   Animals.\n") == "Zoo [Gr. x.] (Zool.) Animals.");
}

TEST_CASE("dictionary: accents, names of signs, and brackets that are neither") {
  CHECK(cleaned("X \\X\\, n.\n   d['e]j[`a] [ae]on na[\"i]ve [=o] [a^]b [,c]a 5[deg] [.a] [L.] [R.] [Obs.] "
                "[He] [2]\n") == "X, n. déjà æon naïve ō ab ça 5° a [L.] [R.] [Obs.] [He] [2]");
}

TEST_CASE("dictionary: bytes that are not UTF-8 are repaired or dropped, control characters dropped") {
  CHECK(cleaned("X \\X\\, n.\n   fa\xE7"
                "ade, market\x92s, haven\xB9t\x81, \x01naïve\x7F\ttab\n") ==
        "X, n. façade, market's, haven't, naïve tab");
}

TEST_CASE(
    "dictionary: the header goes, what stands at the margin without a headword joins the entry before") {
  const Documents entries = dictionary_entries(
      "00-database-info\n   x\n\nfree software\n   --Locke.\n0 \\0\\ adj.\n   none\n\n[1913 "
      "Webster]\n\nR.\n\nYear of the world\n\n"
      "1 \\1\\ adj.\n   one\n");
  CHECK(entries == Documents{"0 adj. none\nYear of the world", "1 adj. one"});
  CHECK(dictionary_entries("").empty());
}

TEST_CASE("documents: blank lines separate them") {
  CHECK(split_documents("\n \na\n b\n\t\r\n\n\nc\n") == Documents{"a\n b", "c"});
  CHECK(split_documents("").empty());
  const Documents documents = {"a\nb", "c", "d"};
  CHECK(join_documents(documents) == "a\nb\n\nc\n\nd\n");
  CHECK(split_documents(join_documents(documents)) == documents);
}

TEST_CASE("documents: the shuffle is the same on every machine") {
  Documents documents;
  for (char c = 'a'; c <= 'j'; ++c) documents.emplace_back(1, c);
  Documents shuffled = documents, again = documents, other = documents;
  shuffle_documents(shuffled, 1337);
  shuffle_documents(again, 1337);
  shuffle_documents(other, 1338);
  std::string order;
  for (const std::string& d : shuffled) order += d;
  CHECK(order == "hjdgeabicf");
  CHECK(shuffled == again);
  CHECK(shuffled != other);
  std::sort(shuffled.begin(), shuffled.end());
  CHECK(shuffled == documents);
}

TEST_CASE("texts: plain and gzip read alike, a missing or damaged file is refused") {
  TemporaryDirectory directory;
  const std::string text = "some text\n\xFF" + std::string(100'000, 'x');
  gzFile file = gzopen((directory / "x.gz").c_str(), "wb");
  gzwrite(file, text.data(), unsigned(text.size()));
  gzclose(file);
  CHECK(read_text(directory / "x.gz") == text);
  CHECK(read_text(directory.file("x", text)) == text);
  CHECK(read_text(directory.file("empty", "")).empty());
  const std::string packed = file_bytes(directory / "x.gz");
  directory.file("cut.gz", packed.substr(0, packed.size() - 20));
  CHECK_THROWS_WITH_AS(read_text(directory / "cut.gz"), doctest::Contains("ends too early"), Error);
  std::string damaged = packed;
  damaged[packed.size() - 6] ^= 1;
  directory.file("bad.gz", damaged);
  CHECK_THROWS_WITH_AS(read_text(directory / "bad.gz"), doctest::Contains("damaged gzip"), Error);
  CHECK_THROWS_WITH_AS(read_text(directory / "none"), doctest::Contains("No such file"), Error);
  CHECK_THROWS_WITH_AS(read_text(directory.path.string()), doctest::Contains("is a directory"), Error);
  CHECK(is_dictionary("a/gcide.dict.dz"));
  CHECK(!is_dictionary("a/gcide.txt"));
}
