// `status` and `target …`: what needs a running daemon.
#include "cli/status_command.h"

#include <algorithm>
#include <utility>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"

namespace infertrail::cli {
namespace {

using google::protobuf::Message;

std::string number(uint64_t value) { return std::to_string(value); }

Colour coverage_colour(const std::string& coverage) {
  if (coverage.find("NOT VISIBLE") != std::string::npos || coverage.find("MISSING") != std::string::npos) return Colour::kRed;
  if (coverage.find("; ") != std::string::npos || coverage.starts_with("no") || coverage.starts_with("TLS, ")) return Colour::kYellow;
  return Colour::kGreen;
}

// What each kind of loss means to whoever reads the trail.
std::string loss_meaning(const std::string& kind) {
  static constexpr std::pair<const char*, const char*> kMeanings[] = {
      {"ring_full", "the daemon read too slowly"},
      {"fault", "memory could not be read"},
      {"control_full", "what says whose the bytes are is late or missing"},
      {"map_full", "a table in the kernel was full"},
      {"nested_call", "TLS calls inside one another"},
      {"entered_before", "calls that were under way when their probes came"},
      {"probe_missed", "the kernel skipped events"},
      {"orphans", "first bytes whose connection never appeared"},
      {"malformed", "events that the daemon did not understand"},
      {"refused", "records that the trail did not take"}};
  for (auto& [name, meaning] : kMeanings)
    if (kind == name) return std::string(" (") + meaning + ")";
  return "";
}

std::string losses_text(const StatusReply& status, const Style& style) {
  if (status.losses().empty()) return "lost      nothing\n";
  std::string out;
  for (const Loss& loss : status.losses())
    out += paint(style, Colour::kRed,
                 "lost      " + one_line(loss.kind()) + ": " + number(loss.events()) + " events, " +
                     size_text(loss.bytes()) + loss_meaning(loss.kind())) +
           "\n";
  return out + "          records that miss something are marked ! in `infertrail log`\n";
}

std::string ring_text(const StatusReply& status, const Style& style) {
  const Backpressure& pressure = status.backpressure();
  const uint64_t percent = status.ring_bytes() == 0 ? 0 : status.ring_waiting() * 100 / status.ring_bytes();
  std::string out = "ring      " + size_text(status.ring_waiting()) + " of " + size_text(status.ring_bytes()) +
                    " wait (" + number(percent) + " %); ";
  if (pressure.mode() != "strict") return out + "what finds no room is lost and counted (backpressure: count)\n";
  out += "TLS producers are stopped above 50 %, plain TCP waits (backpressure: strict): " + number(pressure.stops()) +
         " stops, " + number(pressure.held_now()) + " held now, " + number(pressure.repeats()) + " segments repeated";
  if (pressure.unprotected() == 0) return out + "\n";
  return out + "\n" + paint(style, Colour::kRed, "          unprotected " + number(pressure.unprotected()) +
                                                    " times: nobody was held although the ring was over the mark") + "\n";
}

// Of selectors with ",stop"; nothing without them.
std::string stops_text(const StatusReply& status, const Style& style) {
  const AttachStops& stops = status.attach_stops();
  if (!stops.on()) return "";
  uint64_t longest = 0;
  for (const TargetProcess& each : status.processes()) longest = std::max<uint64_t>(longest, each.longest_stop_us());
  std::string out = "stops     " + number(stops.stops()) + " until attached, " + number(stops.held_now()) + " held now";
  if (longest > 0) out += "; longest of those that run " + number((longest + 999) / 1000) + " ms";
  out += "\n";
  if (stops.overdue() + stops.refused() > 0)
    out += paint(style, Colour::kRed, "          " + number(stops.overdue()) + " went on before they were probed, " +
                                          number(stops.refused()) + " were not stopped") + "\n";
  return out;
}

std::string coverage_text(const StatusReply& status, const Style& style) {
  const CoverageSummary& seen = status.coverage();
  std::string out = "coverage  " + number(seen.plain()) + " connections in the clear, " + number(seen.read()) + " of " +
                    number(seen.tls()) + " TLS connections read\n";
  if (seen.dark() > 0)
    out += paint(style, Colour::kRed, "          TLS NOT VISIBLE on " + number(seen.dark()) + ", " +
                                          number(seen.dark_now()) + " of them open now") + "\n";
  if (seen.incomplete() > 0)
    out += paint(style, Colour::kRed, "          TLS PLAINTEXT MISSING on " + number(seen.incomplete()) +
                                          ": they carried more than was seen") + "\n";
  if (seen.dark() + seen.incomplete() > 0) out += "          `infertrail log --kind gap` names them\n";
  return out;
}

std::string canary_text(const StatusReply& status, const Timestamp& now, const Style& style) {
  const CanaryReport& canary = status.canary();
  const bool before = canary.has_last_seen() && now.seconds() >= canary.last_seen().seconds();
  const std::string ago = !before ? "" :
      duration_text(static_cast<uint64_t>(now.seconds() - canary.last_seen().seconds()) * 1000) + " ago";
  if (canary.state() == "seen") return "canary    seen " + (ago.empty() ? "now" : ago) + ": the probes of libssl fire\n";
  if (canary.state() == "NOT SEEN")
    return paint(style, Colour::kRed, "canary    NOT SEEN: " + one_line(canary.detail()) +
                                          (ago.empty() ? "" : "; last seen " + ago)) + "\n";
  return "canary    " + one_line(canary.state()) + (canary.detail().empty() ? "" : ": " + one_line(canary.detail())) + "\n";
}

std::string selectors_text(const google::protobuf::RepeatedPtrField<std::string>& selectors) {
  std::string out;
  for (const std::string& selector : selectors) out += (out.empty() ? "" : ", ") + one_line(selector);
  return out.empty() ? "none; `infertrail target add` names one" : out;
}

// GET or POST, with the Context told when nobody answers.
Status ask(Context& context, const std::string& path, const TargetChange* change, Message* reply) {
  Client client(context.socket);
  auto status = change ? client.post(path, *change, reply) : client.get(path, reply);
  context.daemon_missing = !client.answered();
  return status;
}

std::string list_text(const TargetList& list, const Style& style) {
  std::string out = "selectors  " + selectors_text(list.selectors()) + "\n";
  if (list.processes().empty()) return out + "no process matches them now; one that starts later is found by itself\n";
  return out + "\n" + process_table(list.processes(), style, "selector");
}

Result<int> change_targets(Context& context, const Arguments& arguments, const TargetChange& change) {
  TargetList list;
  TRY_STATUS(ask(context, "/v1/targets", &change, &list));
  print(arguments.has("--json") ? to_json(list) + "\n" : list_text(list, context.style));
  return kOk;
}

}  // namespace

std::string process_table(const google::protobuf::RepeatedPtrField<TargetProcess>& processes,
                          const Style& style, const char* selector_title) {
  Table table({{"pid", true}, {"process", false, 6}, {"user", false, 4}, {"coverage", false, 16},
               {selector_title, false, 8}, {"executable", false, 10, 1}},
              style);
  for (const TargetProcess& each : processes)
    table.add({{number(each.process().pid())},
               {each.process().comm()},
               {each.process().user()},
               {each.coverage(), coverage_colour(each.coverage())},
               {each.selector()},
               {each.process().exe()}});
  return table.text();
}

std::string status_text(const StatusReply& status, const Timestamp& now, const Style& style) {
  std::string out = paint(style, Colour::kBold, "infertraild " + one_line(status.version())) + ", pid " +
                    number(status.pid()) + ", runs since " + short_time(status.started());
  if (now.seconds() > status.started().seconds())
    out += " (" + duration_text(static_cast<uint64_t>(now.seconds() - status.started().seconds()) * 1000) + ")";
  out += "\ntrail     " + one_line(status.trail()) + "\nlog       " + number(status.size()) + " entries, " +
         number(status.published()) + " published; origin " + one_line(status.origin()) + "\nroot      " +
         one_line(status.root()) + "\ncaptured  " + number(status.events()) + " events, " +
         size_text(status.bytes()) + "; " + number(status.exchanges()) + " calls recorded, " +
         number(status.undecoded()) + " not decoded\nopen      " + number(status.open_connections()) +
         " connections, " + size_text(status.memory_bytes()) + " held for them\n";
  out += losses_text(status, style) + ring_text(status, style) + stops_text(status, style) + coverage_text(status, style) +
         canary_text(status, now, style);
  out += "targets   " + selectors_text(status.selectors()) + "\n";
  if (status.processes().empty())
    return out + paint(style, Colour::kYellow, "no process is monitored now") +
           "; `infertrail target discover` lists candidates\n";
  return out + "\n" + process_table(status.processes(), style, "selector");
}

Result<int> run_status(Context& context, const Arguments& arguments) {
  StatusReply status;
  TRY_STATUS(ask(context, "/v1/status", nullptr, &status));
  print(arguments.has("--json") ? to_json(status) + "\n" : status_text(status, time_now(), context.style));
  return kOk;
}

Result<int> run_target_add(Context& context, const Arguments& arguments) {
  TargetChange change;
  change.set_add(arguments.words[0]);
  return change_targets(context, arguments, change);
}

Result<int> run_target_remove(Context& context, const Arguments& arguments) {
  TargetChange change;
  change.set_remove(arguments.words[0]);
  return change_targets(context, arguments, change);
}

Result<int> run_target_list(Context& context, const Arguments& arguments) {
  TargetList list;
  TRY_STATUS(ask(context, "/v1/targets", nullptr, &list));
  print(arguments.has("--json") ? to_json(list) + "\n" : list_text(list, context.style));
  return kOk;
}

Result<int> run_target_discover(Context& context, const Arguments& arguments) {
  ProcessList list;
  TRY_STATUS(ask(context, "/v1/discover", nullptr, &list));
  if (arguments.has("--json")) {
    print(to_json(list) + "\n");
  } else if (list.processes().empty()) {
    print("no known inference server runs on this host; `infertrail target add exe=NAME` names an unknown one\n");
  } else {
    print(process_table(list.processes(), context.style, "why"));
  }
  return kOk;
}

}  // namespace infertrail::cli
