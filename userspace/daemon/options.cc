#include "daemon/options.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>

#include "base/bytes.h"
#include "base/file.h"
#include "base/yaml.h"
#include "capture/selector.h"
#include "mask/detectors.h"
#include "policy/config.h"

namespace infertrail {
namespace {

struct Arguments {
  std::string config = kDefaultConfigPath;
  std::optional<std::string> trail, socket;
  std::vector<std::string> targets, policies;
  bool plaintext_digests = false;
};

const std::vector<std::string> kNames = {"--config", "--trail",  "--socket",  "--target", "--policy",
                                         "--plaintext-digests", "--check", "--detach", "--help", "--version"};

Error unknown(const std::string& argument) {
  const std::string near = nearest(argument, kNames);
  return {Code::kInvalid, "unknown argument \"" + argument + "\"" +
                              (near.empty() ? "" : "; did you mean " + near + "?") +
                              " (see infertraild --help)"};
}

// Takes "--name VALUE" and "--name=VALUE".
Result<std::string> value_of(const std::string& name, const std::string& argument, int argc, char** argv,
                             int* at) {
  if (argument.size() > name.size()) return argument.substr(name.size() + 1);
  if (*at + 1 >= argc) return Error{Code::kInvalid, name + " wants a value"};
  return std::string(argv[++*at]);
}

Status read_arguments(int argc, char** argv, Arguments* out, Options* options) {
  for (int at = 1; at < argc; at++) {
    const std::string argument = argv[at];
    const std::string name = argument.substr(0, argument.find('='));
    if (name == "--help" || name == "-h") options->help = true;
    else if (name == "--version") options->version = true;
    else if (name == "--check") options->check_only = true;
    else if (name == "--detach") options->detach = true;
    else if (name == "--plaintext-digests") out->plaintext_digests = true;
    else if (name == "--config" || name == "--trail" || name == "--socket" || name == "--target" ||
             name == "--policy") {
      TRY(std::string value, value_of(name, argument, argc, argv, &at));
      if (value.empty()) return Error{Code::kInvalid, name + " wants a value"};
      if (name == "--config") out->config = value;
      if (name == "--trail") out->trail = value;
      if (name == "--socket") out->socket = value;
      if (name == "--target") out->targets.push_back(value);
      if (name == "--policy") out->policies.push_back(value);
    } else {
      return unknown(argument);
    }
  }
  return {};
}

Status add_policy(const std::string& path, Config* config) {
  TRY(std::string text, read_file(path));
  Policy policy;
  TRY_STATUS(load_yaml(path, text, &policy));
  // A policy adds to what is masked. Without a list in the configuration that is everything already;
  // its names are still checked.
  const auto known = detector_names();
  for (const std::string& detector : policy.masking().detectors()) {
    if (std::find(known.begin(), known.end(), detector) == known.end()) {
      const std::string near = nearest(detector, known);
      return Error{Code::kInvalid, path + ": masking.detectors: there is no detector \"" + detector + "\"" +
                                       (near.empty() ? "" : "; did you mean " + near + "?")};
    }
    auto* detectors = config->mutable_masking()->mutable_detectors();
    const bool all = detectors->empty();
    if (!all && std::find(detectors->begin(), detectors->end(), detector) == detectors->end())
      config->mutable_masking()->add_detectors(detector);
  }
  return {};
}

}  // namespace

Result<Options> parse_options(int argc, char** argv) {
  Options options;
  Arguments arguments;
  TRY_STATUS(read_arguments(argc, argv, &arguments, &options));
  if (options.help || options.version) return options;
  TRY(options.config, load_config(arguments.config));
  if (arguments.trail) {
    std::error_code ignored;   // only of a working directory that is gone: the path stays as given
    // A key file that was derived from the default trail moves with the trail.
    Config& config = options.config;
    const bool derived = config.trail_options().key_file().starts_with(config.trail() + "/");
    config.set_trail(std::filesystem::absolute(*arguments.trail, ignored).lexically_normal().string());
    if (derived) config.mutable_trail_options()->set_key_file(config.trail() + "/keys/log.key");
  }
  if (arguments.socket) options.config.set_socket(*arguments.socket);
  if (arguments.plaintext_digests) options.config.set_plaintext_digests(true);
  if (!arguments.targets.empty()) {
    options.config.clear_targets();
    for (const std::string& target : arguments.targets) options.config.add_targets(target);
  }
  for (const std::string& policy : arguments.policies) TRY_STATUS(add_policy(policy, &options.config));
  for (const std::string& target : options.config.targets())
    if (auto selector = Selector::parse(target); !selector.ok()) return selector.error();
  TRY_STATUS(check_config(options.config, detector_names()));
  return options;
}

std::string usage() {
  return R"(infertraild: records what inference servers on this host say and hear.

  infertraild [--config FILE] [--trail DIR] [--socket PATH] [--target SELECTOR]...
              [--policy FILE]... [--plaintext-digests] [--check]
  infertraild --detach [--config FILE]

  --config FILE         YAML (default /etc/infertrail/config.yaml; may be missing)
  --trail DIR           where records go (default /var/lib/infertrail)
  --socket PATH         control socket (default /run/infertrail/control.sock)
  --target SELECTOR     auto, pid=N, exe=PATH, comm=NAME, cmdline~=REGEX, cgroup=PATH, port=N,
                        unit=NAME; may be repeated; replaces the configuration's list; with ",stop" behind
                        exe, comm, cgroup, unit or pid its processes wait for their probes
  --policy FILE         YAML policy (policies/*.yaml); may be repeated
  --plaintext-digests   put sha256 of the unmasked bodies into each record (guessable for short texts)
  --check               read configuration and policies, say what is wrong, and end
  --detach              remove what a daemon that was killed left attached, say what it was, and end

Runs in the foreground; says "ready" on stderr when capture is attached. SIGINT or SIGTERM ends it
and leaves nothing attached; SIGUSR2 ends it and leaves the capture attached for the next daemon, which
records what was said meanwhile, as after kill -9. Exit codes: 0 ended on request, 1 failed, 2 wrong usage or configuration.

  sudo infertraild                                   record the known inference servers
  sudo infertraild --target port=8000 --trail ./t    record who listens on port 8000
)";
}

}  // namespace infertrail
