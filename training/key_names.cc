#include "training/key_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace ld {
namespace {

std::string section_text(const std::string& section) {
  return section.empty() ? "the top level, before the first section" : "[" + section + "]";
}

std::string join(const std::vector<std::string>& parts, const char* separator) {
  std::string all;
  for (const std::string& part : parts) all += (all.empty() ? "" : separator) + part;
  return all;
}

}  // namespace

bool KnownKeys::has(const std::string& path) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const KnownKey& key) { return key.path == path; });
}

bool KnownKeys::is_section(const std::string& path) const {
  return std::any_of(keys_.begin(), keys_.end(),
                     [&](const KnownKey& key) { return key.path == path && key.is_section; });
}

std::string KnownKeys::explain_unknown(const std::string& section, const std::string& name) const {
  std::vector<std::string> homes;                  // sections that have a key of exactly this name
  std::vector<std::string> neighbours;             // keys of this section
  std::vector<std::string_view> here, everywhere;  // names, for the nearest one
  for (const KnownKey& key : keys_) {
    const auto [key_section, key_name] = split_last(key.path);
    if (key_name == name) homes.push_back(section_text(key_section));
    const std::string_view last = std::string_view(key.path).substr(key.path.size() - key_name.size());
    if (key_section == section) {
      neighbours.push_back(key_name);
      here.push_back(last);
    }
    everywhere.push_back(last);
  }

  const std::string start = fmt::format("unknown key \"{}\" in {}", one_line(name),
                                        section.empty() ? "the top level" : section_text(section));
  if (!homes.empty()) return fmt::format("{}; it belongs in {}, move it there", start, join(homes, " or "));
  if (const auto meant = nearest(name, here); !meant.empty())
    return fmt::format("{}; the nearest valid key is \"{}\", rename it", start, meant);
  if (const auto meant = nearest(name, everywhere); !meant.empty()) {
    const auto place = std::find(everywhere.begin(), everywhere.end(), meant) - everywhere.begin();
    const std::string home = section_text(split_last(keys_[place].path).first);
    return fmt::format("{}; the nearest valid key is \"{}\" and belongs in {}, move it there", start, meant,
                       home);
  }
  return fmt::format("{}; choose one of {}", start, join(neighbours, ", "));
}

std::pair<std::string, std::string> split_last(const std::string& path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

std::string one_line(std::string text) {
  const auto is_control = [](char letter) { return std::iscntrl(static_cast<unsigned char>(letter)) != 0; };
  std::replace_if(text.begin(), text.end(), is_control, ' ');
  return text;
}

std::string_view nearest(std::string_view name, const std::vector<std::string_view>& names) {
  std::string_view best;
  int best_distance = std::max(2, static_cast<int>(name.size()) / 3) + 1;  // farther apart is no slip
  for (const std::string_view candidate : names) {
    const int distance = edit_distance(name, candidate);
    const size_t letters = std::max(name.size(), candidate.size());
    if (distance >= best_distance || distance == static_cast<int>(letters)) continue;  // no letter in common
    best = candidate;
    best_distance = distance;
  }
  return best;
}

int edit_distance(std::string_view a, std::string_view b) {
  const auto same = [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  };
  // distance[i][j] is between the first i letters of a and the first j of b.
  std::vector<std::vector<int>> distance(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      int& d = distance[i][j];
      if (i == 0 || j == 0) {
        d = static_cast<int>(i + j);
        continue;
      }
      d = std::min(distance[i - 1][j], distance[i][j - 1]) + 1;
      d = std::min(d, distance[i - 1][j - 1] + (same(a[i - 1], b[j - 1]) ? 0 : 1));
      if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
        d = std::min(d, distance[i - 2][j - 2] + 1);
    }
  }
  return distance[a.size()][b.size()];
}

}  // namespace ld
