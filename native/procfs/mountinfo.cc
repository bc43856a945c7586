// Sample: "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw"
// (id, parent, device, root, mount point, options, optional fields, "-", type, source, options)
#include "procfs/mountinfo.h"

#include "base/text.h"

namespace lezea {
namespace {

struct Mount {
  std::string_view root;
  std::string_view point;
  std::string_view type;
  std::string_view super_options;
};

bool parse_mount(std::string_view line, Mount& out) {
  TextScanner fields(line);
  if (!fields.skip_words(3) || !fields.word(out.root) || !fields.word(out.point)) return false;
  std::string_view field;
  while (fields.word(field)) {
    if (field == "-") {
      return fields.word(out.type) && fields.skip_words(1) && fields.word(out.super_options);
    }
  }
  return false;
}

// Blanks and backslashes in a path are written as three octal digits.
std::string unescape(std::string_view path) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (size_t i = 0; i < path.size(); i++) {
    bool escape = path[i] == '\\' && i + 3 < path.size() && octal(path[i + 1]) &&
                  octal(path[i + 2]) && octal(path[i + 3]);
    if (!escape) {
      out.push_back(path[i]);
      continue;
    }
    int code = (path[i + 1] - '0') * 64 + (path[i + 2] - '0') * 8 + (path[i + 3] - '0');
    out.push_back(static_cast<char>(code));
    i += 3;
  }
  return out;
}

bool lists_option(std::string_view options, std::string_view wanted) {
  while (!options.empty()) {
    size_t size = options.find(',');
    if (options.substr(0, size) == wanted) return true;
    options.remove_prefix(size == std::string_view::npos ? options.size() : size + 1);
  }
  return false;
}

// controller "" matches any.
Result<std::string> find_mount(std::string_view text, std::string_view type,
                               std::string_view controller) {
  TextScanner lines(text);
  std::string_view line;
  while (lines.line(line)) {
    Mount mount;
    if (!parse_mount(line, mount) || mount.type != type || mount.root != "/") continue;
    if (!controller.empty() && !lists_option(mount.super_options, controller)) continue;
    return Result<std::string>::of(unescape(mount.point));
  }
  return Result<std::string>::fail(ReadStatus::kUnsupported);
}

}  // namespace

Result<std::string> parse_cgroup2_mount(std::string_view text) {
  return find_mount(text, "cgroup2", "");
}

Result<std::string> parse_cgroup1_mount(std::string_view text, std::string_view controller) {
  return find_mount(text, "cgroup", controller);
}

}  // namespace lezea
