// Where the training text comes from: plain files, and the dictionaries that Debian packages for dictd, which
// give a fresh machine millions of words of English without an account or a download site.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ld {

/// The bytes of a file, unpacked when it is gzip (as *.dict.dz is). Error: PATH: reason.
std::string read_text(const std::string& path);

/// True when the name says dictd dictionary: *.dict.dz, *.dict.
bool is_dictionary(const std::string& path);

/// The entries of a dictd dictionary typeset as GCIDE is (the Collaborative International Dictionary of
/// English), one string each, in valid UTF-8, ready to be read by people and models:
///
///   Lead \Lead\ (l[e^]d), n. [OE. led, AS. le['a]d; akin           Lead, n. [OE. led, AS. leád; akin to D.
///   lood.]
///      to D. lood.]                                                1. (Chem.) One of the elements, a heavy
///      metal.
///      1. (Chem.) One of the elements, a heavy                 ->  Black lead, graphite or plumbago.
///         metal.
///         [1913 Webster]
///
///      {Black lead}, graphite or plumbago.
///
/// The database's own header, the pronunciations and the marks of source are left out, the hard line breaks
/// undone, the ASCII notation of accents resolved. Entries have no blank line inside and no line break at the
/// end.
std::vector<std::string> dictionary_entries(std::string_view dictionary);

/// The documents of any text: what blank lines separate, without the line breaks around them.
std::vector<std::string> split_documents(std::string_view text);

/// A random order that depends on `seed` and the number of documents alone, on every machine.
void shuffle_documents(std::vector<std::string>& documents, uint64_t seed);

/// Puts documents together with a blank line between two of them, so that split_documents finds them again.
std::string join_documents(const std::vector<std::string>& documents);

}  // namespace ld
