#include "mask/batch.h"

#include <algorithm>
#include <numeric>

namespace infertrail {

namespace {
std::string normalized(const std::string& type, const std::string& value) {
  for (const Detector& row : detectors())
    if (type == row.type) return row.normalize(value);
  return value;
}
}  // namespace

std::string Placeholders::name(const std::string& type, const std::string& value) {
  auto& values = known_[type];
  size_t number = values.emplace(normalized(type, value), values.size() + 1).first->second;
  return "[[" + type + ":" + std::to_string(number) + "]]";
}

bool is_placeholder(std::string_view text) {
  return text.starts_with("[[") && text.ends_with("]]") && text.find(':') != std::string_view::npos;
}

void Batch::add(const View& view, Kind kind, bool may_go_on, int depth) {
  if (view.text().empty()) return;
  size_t begin = all_.text().size();
  all_.append(view);
  regions_.push_back({begin, all_.text().size(), kind, may_go_on, depth});
  all_.append_nowhere(std::string_view("\0", 1));
}

void Batch::force(const std::string& type, const View& view, Kind kind, int depth) {
  std::string_view text = view.text();
  if (text.empty() || is_placeholder(text)) return;
  Found found;
  found.type = type;
  found.value = std::string(text);
  found.raw = view.raw({0, text.size()});
  found.length = text.size();
  found.kind = kind;
  found.depth = depth;
  found.forced = true;
  found_.push_back(std::move(found));
}

const Batch::Region& Batch::region_of(size_t at) const {
  auto next = std::upper_bound(regions_.begin(), regions_.end(), at,
                               [](size_t value, const Region& r) { return value < r.begin; });
  return *(next - 1);
}

void Batch::found(const Detector& row, Span span, const Region& region) {
  std::string_view value = all_.text().substr(span.begin, span.size());
  Found found;
  found.type = row.type;
  found.value = std::string(value);
  found.priority = static_cast<size_t>(&row - detectors().data());
  found.length = span.size();
  found.kind = region.kind;
  found.depth = region.depth;
  if (region.kind == Kind::kNumber) span = {region.begin, region.end};
  found.raw = all_.raw(span);
  if (!found.raw.empty()) found_.push_back(std::move(found));
}

void Batch::find_unfinished(const Region& region, Outcome* outcome) {
  static constexpr size_t kTail = 64;
  size_t begin = region.end - std::min(kTail, region.end - region.begin);
  std::string_view tail = all_.text().substr(begin, region.end - begin);
  for (const Detector* row : scanner_->rows()) {
    size_t at = row->unfinished == nullptr ? std::string_view::npos : row->unfinished(tail);
    if (at >= tail.size()) continue;
    size_t before = found_.size();
    found(*row, {begin + at, region.end}, region);
    if (found_.size() > before) outcome->cut.emplace_back(row->type);
  }
}

Status Batch::find(Outcome* outcome) {
  std::vector<Hit> hits;
  TRY_STATUS(scanner_->find(all_.text(), &hits));
  for (const Hit& hit : hits) found(*hit.row, hit.span, region_of(hit.span.begin));
  for (const Region& region : regions_)
    if (region.may_go_on) find_unfinished(region, outcome);
  return {};
}

std::vector<Batch::Range> Batch::sorted_ranges() const {
  std::vector<Range> ranges;
  for (size_t i = 0; i < found_.size(); i++)
    for (const Span& span : found_[i].raw) ranges.push_back({span, i});
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::tie(a.span.begin, a.owner) < std::tie(b.span.begin, b.owner);
  });
  return ranges;
}

std::vector<size_t> Batch::leaders() const {
  std::vector<size_t> leader(found_.size());
  std::iota(leader.begin(), leader.end(), size_t{0});
  auto root = [&](size_t i) {
    while (leader[i] != i) i = leader[i] = leader[leader[i]];
    return i;
  };
  std::vector<Range> ranges = sorted_ranges();
  for (size_t i = 1, last = 0; i < ranges.size(); i++) {
    if (ranges[i].span.begin < ranges[last].span.end) {
      leader[root(ranges[i].owner)] = root(ranges[last].owner);
      if (ranges[i].span.end <= ranges[last].span.end) continue;
    }
    last = i;
  }
  for (size_t i = 0; i < leader.size(); i++) leader[i] = root(i);
  return leader;
}

// Finds whose raw bytes overlap are one place: all its bytes go, under the longest find's name.
std::vector<Batch::Group> Batch::groups() const {
  std::vector<size_t> leader = leaders();
  std::map<size_t, Group> all;
  for (const Range& range : sorted_ranges()) {
    std::vector<Span>& raw = all[leader[range.owner]].raw;
    if (!raw.empty() && range.span.begin <= raw.back().end) {
      raw.back().end = std::max(raw.back().end, range.span.end);
    } else {
      raw.push_back(range.span);
    }
  }
  for (size_t i = 0; i < found_.size(); i++) {
    Group& group = all[leader[i]];
    const Found& found = found_[i];
    auto rank = [](const Found& f) { return std::tuple(f.forced, f.length, ~f.priority); };
    if (group.best == nullptr || rank(found) > rank(*group.best)) group.best = &found;
    if (found.kind != Kind::kFragment) group.only_fragments = false;
    if (found.forced) group.forced = true;
  }
  std::vector<Group> out;
  for (auto& [leader_index, group] : all)
    if (!group.raw.empty()) out.push_back(std::move(group));
  std::sort(out.begin(), out.end(),
            [](const Group& a, const Group& b) { return a.raw[0].begin < b.raw[0].begin; });
  return out;
}

Result<Batch::Outcome> Batch::apply(std::string* raw, Placeholders* names) {
  Outcome outcome;
  TRY_STATUS(find(&outcome));
  if (found_.empty()) return outcome;
  struct Edit {
    Span span;
    std::string text;
  };
  std::vector<Edit> edits;
  for (const Group& group : groups()) {
    const Found& best = *group.best;
    std::string text = names->name(best.type, best.value);
    if (best.kind == Kind::kNumber) {
      text = "\"" + text + "\"";
      for (int i = 0; i < best.depth; i++) text = json::escape(text);
    }
    for (const Span& span : group.raw) edits.push_back({span, std::exchange(text, "")});
    outcome.counts[best.type]++;
    if (group.only_fragments || group.forced) outcome.extra_values.emplace(best.type, best.value);
  }
  std::sort(edits.begin(), edits.end(),
            [](const Edit& a, const Edit& b) { return a.span.begin < b.span.begin; });
  std::string out;
  out.reserve(raw->size());
  size_t done = 0;
  for (const Edit& edit : edits) {
    out.append(*raw, done, edit.span.begin - done);
    out.append(edit.text);
    done = edit.span.end;
  }
  out.append(*raw, done);
  *raw = std::move(out);
  return outcome;
}

}  // namespace infertrail
