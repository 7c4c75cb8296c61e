#include "cli/log_command.h"

#include <cstdio>

#include "cli/commands.h"
#include "cli/records.h"

namespace infertrail::cli {
namespace {

constexpr uint64_t kDefaultLimit = 100;   // the daemon's too

bool is_traffic(const Record& record) { return record.kind() == "exchange" || record.kind() == "undecoded"; }

std::string process_text(const Process& process) {
  if (process.pid() == 0) return "-";
  std::string name = process.comm();
  if (name.empty()) name = process.exe().substr(process.exe().rfind('/') + 1);
  return name + "[" + std::to_string(process.pid()) + "]";
}

std::string principal_text(const Principal& principal) {
  if (principal.kind() == "api_key") {
    const std::string& id = principal.id();
    return "key " + id.substr(id.rfind(':') + 1, 10);
  }
  if (principal.kind() == "process") return principal.id();
  return "-";
}

// "12/340"; "-" when the answer did not say.
std::string token_text(const Inference& inference) {
  if (inference.input_tokens() == 0 && inference.output_tokens() == 0) return "-";
  return std::to_string(inference.input_tokens()) + "/" + std::to_string(inference.output_tokens());
}

std::string masked_text(const Mask& mask) {
  std::string out;
  const std::map<std::string, uint32_t> sorted(mask.counts().begin(), mask.counts().end());
  for (const auto& [type, count] : sorted)
    out += (out.empty() ? "" : " ") + type + ":" + std::to_string(count);
  if (mask.not_run_size() > 0) out += out.empty() ? "not all run" : " (not all run)";
  return out.empty() ? "-" : out;
}

Cell status_cell(const Record& record) {
  const uint32_t status = record.http().status();
  if (status == 0) return {"-"};
  const Colour colour = status >= 500 ? Colour::kRed : status >= 400 ? Colour::kYellow : Colour::kGreen;
  return {std::to_string(status), colour};
}

Cell model_cell(const Record& record) {
  if (!is_traffic(record)) {
    auto selector = record.event().facts().find("selector");   // of a change of targets
    const bool named = selector != record.event().facts().end();
    return {record.event().what() + (named ? " " + selector->second : ""), Colour::kDim};
  }
  const std::string& model = record.inference().model();
  return {model.empty() ? "-" : model};
}

Cell operation_cell(const Record& record) {
  if (record.kind() != "exchange") return {record.kind(), Colour::kCyan};
  const std::string& operation = record.inference().operation();
  if (!operation.empty() && operation != "unknown") return {operation};
  const std::string& path = record.http().path();   // not an inference call: what was it?
  return {record.http().method() + " " + path.substr(0, path.find('?')), Colour::kDim};
}

Status take_times(const Arguments& arguments, const Timestamp& now, LogQuery* query) {
  for (const char* flag : {"--since", "--until"}) {
    if (!arguments.has(flag)) continue;
    auto time = parse_time(arguments.value(flag), now);
    if (!time.ok()) return wrap(time.error(), flag);
    *(flag == std::string("--since") ? query->mutable_since() : query->mutable_until()) = time.value();
  }
  return {};
}

}  // namespace

std::vector<Column> log_columns() {
  return {{"#", true, 0, 0, 6},           {"time", false, 0, 0, 19},       {"!", false, 0, 0, 1},
          {"client", false, 12, 6, 21},   {"process", false, 12, 0, 20},   {"principal", false, 10, 5, 14},
          {"model", false, 16, 0, 24},    {"operation", false, 10, 4, 13}, {"status", true, 0, 0, 6},
          {"tokens", true, 0, 3, 9},      {"took", true, 0, 2, 6},         {"masked", false, 12, 1, 18}};
}

Row log_row(const Record& record) {
  const bool traffic = is_traffic(record);
  std::string client = record.flow().client();
  if (record.peer().pid() != 0) client = process_text(record.peer());
  return {{std::to_string(record.index()), Colour::kDim},
          {short_time(record.time())},
          {traffic && !record.complete() ? "!" : "", Colour::kRed},
          {client.empty() ? "-" : client},
          {process_text(record.process())},
          {principal_text(record.principal())},
          model_cell(record),
          operation_cell(record),
          status_cell(record),
          {token_text(record.inference())},
          {traffic ? duration_text(record.duration_ms()) : "-"},
          {masked_text(record.mask()), record.mask().counts().empty() ? Colour::kNone : Colour::kYellow}};
}

Result<LogQuery> log_query(const Arguments& arguments, const Timestamp& now) {
  LogQuery query;
  TRY_STATUS(take_times(arguments, now, &query));
  TRY(const uint64_t limit, arguments.number("--limit", 1, UINT32_MAX));
  TRY(const uint64_t pid, arguments.number("--pid", 1, UINT32_MAX));
  TRY(const uint64_t status, arguments.number("--status", 100, 999));
  query.set_limit(limit == 0 ? kDefaultLimit : limit);
  query.set_pid(static_cast<uint32_t>(pid));
  query.set_status(static_cast<uint32_t>(status));
  query.set_model(arguments.value("--model"));
  query.set_exe(arguments.value("--exe"));
  query.set_kind(arguments.value("--kind"));
  query.set_grep(arguments.value("--grep"));
  query.set_id(arguments.value("--id"));
  query.set_follow(arguments.has("--follow"));
  query.set_summary(!arguments.has("--json"));
  if (query.has_since() && query.has_until() &&
      query.since().seconds() > query.until().seconds())
    return Error{Code::kInvalid, "--since is later than --until: no record can match"};
  return query;
}

Result<int> run_log(Context& context, const Arguments& arguments) {
  TRY(const LogQuery query, log_query(arguments, time_now()));
  Table table(log_columns(), context.style);
  uint64_t given = 0;
  RecordSink sink;
  if (arguments.has("--json")) {
    sink.json = [&](std::string_view line) -> Result<bool> {
      given++;
      print(std::string(line) + "\n");
      return true;
    };
  } else {
    sink.record = [&](const Record& record) -> Result<bool> {
      if (query.follow() && given == 0) print(table.fixed_title());
      given++;
      if (query.follow())
        print(table.fixed_row(log_row(record)));
      else
        table.add(log_row(record));
      return true;
    };
  }
  auto status = each_record(context, arguments, query, sink);
  print(table.text());   // also what came before an error
  TRY_STATUS(status);
  TRY_STATUS(flush());
  if (query.follow()) return kOk;
  if (given == 0) std::fputs("no record matches\n", stderr);
  if (given == query.limit() && !arguments.has("--limit"))
    std::fprintf(stderr, "these are the newest %llu; -n N shows more\n",
                 static_cast<unsigned long long>(given));
  return kOk;
}

}  // namespace infertrail::cli
