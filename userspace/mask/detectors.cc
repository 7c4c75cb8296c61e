#include "mask/detectors.h"

#include "mask/validators.h"

namespace infertrail {
namespace {

constexpr char kEmail[] = R"([^\s\x00@]@[A-Za-z0-9\x80-\xff])";
constexpr char kCard[] = R"(\d(?:[ -]?\d){12})";
constexpr char kSsn[] = R"(\d{3}[ -]\d{2}[ -]\d{4})";
constexpr char kSsnInContext[] = R"((?i)(?:ssn|social.?security)[^0-9\x00]{0,24}\d{9})";
constexpr char kIpV4[] = R"(\d\.\d{1,3}\.\d{1,3}\.\d)";
constexpr char kIpV6[] = R"([0-9A-Fa-f:]:[0-9A-Fa-f]{0,4}:)";

constexpr char kPrefixedKey[] =
    R"((?:sk-|hf_|gh[opsur]_|github_pat_|xox[abeoprs]-|AIza|glpat-|gsk_|nvapi-|npm_|[sr]k_live_)[A-Za-z0-9_-]{10})";
constexpr char kAwsKey[] = R"((?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16})";
constexpr char kJwt[] = R"(eyJ[A-Za-z0-9_-]{8})";
constexpr char kBearer[] = R"((?i)bearer[ \t]{1,4}[A-Za-z0-9._~+/=-]{8})";

constexpr char kPem[] = R"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY)";
constexpr char kAssigned[] =
    R"((?i)(?:api[_ -]?key|access[_-]?key|secret|token|password|passwd|passphrase|pwd)[\\"']{0,4}\s{0,8}[:=]\s{0,8}[\\"']{0,4}[^\s\x00"'\\])";
constexpr char kUserInUrl[] = R"(://[^\s\x00/@:"'\\\[]+:[^\s\x00/@"'\\\[])";

}  // namespace

const std::vector<Detector>& detectors() {
  static const std::vector<Detector> table = {
      {"API_KEY",
       "keys by their issuer's prefix, JSON web tokens, bearer tokens",
       {{kPrefixedKey, prefixed_key}, {kAwsKey, aws_key}, {kJwt, jwt}, {kBearer, bearer}},
       as_is,
       unfinished_key,
       {"key «sk-test-0123456789abcdef», ok", "«sk-ant-api03-AbCdEf0123456789_-xyz»",
        "«hf_abcdefghijKLMNOPQRST0123456789abcd»", "«ghp_0123456789abcdefghijABCDEFGHIJ012345»",
        "«github_pat_11ABCDEFG0123456789_abcdefghij»", "id=«AKIAIOSFODNN7EXAMPLE»;",
        "«xoxb-123456789012-abcdefGHIJKL»", "«AIzaSyA0123456789abcdefghijklmnopqrstu»",
        "«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcDEF123_-xyz»",
        "Authorization: Bearer «abc.DEF-123456»"},
       {"risk-management-strategies-2024 are fine", "sk-learn-contrib-packages",
        "bearer certificates", "task-0123456789abcdef0123", "XAKIAIOSFODNN7EXAMPLE",
        "AKIAIOSFODNN7EXAMPLEAB", "eyJhbGciOiJIUzI1NiJ9 alone", "[[API_KEY:1]]"}},
      {"SECRET",
       "values given to a name such as password, PEM private keys, user:password in URLs",
       {{kPem, pem}, {kAssigned, assigned}, {kUserInUrl, user_in_url}},
       as_is,
       unfinished_secret,
       {"password: «hunter2»", "API_KEY=«abcdef123456»", "the api-key = '«x1y2z3w4»'.",
        "{\"token\": \"«aB3dE5fG7hI9»\"}", "{\\\"password\\\": \\\"«hunter2»\\\"}",
        "client_secret=«s3cr3t-value»&x=1", "https://«bob:hunter2»@example.com/x",
        "«-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----» tail",
        "cut: «-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq»"},
       {"max_tokens: 128000", "completion token: 1234567", "password: string", "token: null",
        "secret:\n- a", "api_key=${OPENAI_API_KEY}", "password=[[SECRET:1]]",
        "http://localhost:8080/path@x", "-----BEGIN PUBLIC KEY-----", "token_count=12345678"}},
      {"EMAIL",
       "mail addresses",
       {{kEmail, email}},
       lower_case,
       unfinished_email,
       {"mail «jane.doe@example.com» today", "<«o'brien+tag@mail.example.co.uk»>",
        "«j\xC3\xB6rg@m\xC3\xBCller.de»", "mailto:«a@b.io».",
        "«jane@example.com»,«joe@example.com»", "«x_y-z@sub-domain.example.museum»"},
       {"@jane on twitter", "a @ b.com", "user@localhost", "foo@bar.c", "git@v1.2.3",
        "[[EMAIL:1]]@x", "x@.com", "package@1.0.0"}},
      {"CARD",
       "payment card numbers: issuer range, length and Luhn",
       {{kCard, card}},
       digits_only,
       unfinished_card,
       {"card «4111 1111 1111 1111».", "«4111-1111-1111-1111»", "«4111111111111111»",
        "«378282246310005»", "«6011 1111 1111 1117»", "«5555555555554444»", "«2223003122003222»",
        "«3530111333300000»", "«30569309025904»", "12 «4111 1111 1111 1111» 34",
        "«4111 1111-1111-1111»x", "Card«4222222222222»", "«6304000000000000000»"},
       {"4111 1111 1111 1112", "1795202619000000000", "0.4111111111111111", "12345678901234567890",
        "41111111111111111111111", "9f4111111111111111c3a7", "4111  1111  1111  1111",
        "4111111111111-4111-8111-111111111111", "1111111111111111"}},
      {"US_SSN",
       "social security numbers: with separators, or nine digits after the words",
       {{kSsn, ssn}, {kSsnInContext, ssn_in_context}},
       digits_only,
       unfinished_ssn,
       {"SSN «460-89-9847».", "«460 89 9847»", "ssn: «460899847»",
        "Social Security no. «460899847»"},
       {"000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "460899847",
        "1460-89-9847", "460-89-98471", "460-89 9847", "2024-460-89-9847"}},
      {"IP",
       "addresses of either version, without their port; loopback and 0.0.0.0 are left",
       {{kIpV4, ip_v4}, {kIpV6, ip_v6}},
       lower_case,
       nullptr,
       {"from «10.1.2.3»:8080", "http://«192.168.0.17»/x", "[«2001:db8::1»]:443",
        "«fe80::1ff:fe23:4567:890a»%eth0", "«::ffff:10.0.0.1»", "at «8.8.8.8».",
        "«2001:0db8:85a3:0000:0000:8a2e:0370:7334»", "/hosts/«10.0.0.9»"},
       {"version 1.2.3", "v1.2.3.4", "version 1.2.3.4", "Chrome/120.0.0.0", "1.2.3.4.5",
        "256.1.1.1", "01.2.3.4", "12:34:56", "2024-01-01T12:34:56", "00:1a:2b:3c:4d:5e",
        "std::string", "a::b", "127.0.0.1:8080", "0.0.0.0", "::1", "::", "dead::beef",
        "10.0.0.1-rc1"}},
  };
  return table;
}

std::vector<std::string> detector_names() {
  std::vector<std::string> names;
  for (const Detector& row : detectors()) names.emplace_back(row.type);
  return names;
}

}  // namespace infertrail
