// `status` and `target …`: what needs a running daemon.
#include "cli/status_command.h"

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"

namespace infertrail::cli {
namespace {

using google::protobuf::Message;

std::string number(uint64_t value) { return std::to_string(value); }

Colour coverage_colour(const std::string& coverage) {
  if (coverage.find("NOT VISIBLE") != std::string::npos) return Colour::kRed;
  if (coverage.find("; ") != std::string::npos || coverage.starts_with("no traffic")) return Colour::kYellow;
  return Colour::kGreen;
}

std::string losses_text(const StatusReply& status, const Style& style) {
  if (status.losses().empty()) return "lost      nothing\n";
  std::string out;
  for (const Loss& loss : status.losses())
    out += paint(style, Colour::kRed,
                 "lost      " + one_line(loss.kind()) + ": " + number(loss.events()) + " events, " +
                     size_text(loss.bytes())) +
           "\n";
  return out + "          records that miss something are marked ! in `infertrail log`\n";
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
  out += losses_text(status, style);
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
