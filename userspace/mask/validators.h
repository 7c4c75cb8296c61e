// The validators of the detectors' table: see Validator in detectors.h for their contract.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mask/detectors.h"

namespace infertrail {

size_t email(std::string_view text, Span candidate, std::vector<Span>* out);
size_t card(std::string_view text, Span candidate, std::vector<Span>* out);
size_t ssn(std::string_view text, Span candidate, std::vector<Span>* out);
size_t ssn_in_context(std::string_view text, Span candidate, std::vector<Span>* out);
size_t ip_v4(std::string_view text, Span candidate, std::vector<Span>* out);
size_t ip_v6(std::string_view text, Span candidate, std::vector<Span>* out);

size_t prefixed_key(std::string_view text, Span candidate, std::vector<Span>* out);
size_t aws_key(std::string_view text, Span candidate, std::vector<Span>* out);
size_t jwt(std::string_view text, Span candidate, std::vector<Span>* out);
size_t bearer(std::string_view text, Span candidate, std::vector<Span>* out);
size_t pem(std::string_view text, Span candidate, std::vector<Span>* out);
size_t assigned(std::string_view text, Span candidate, std::vector<Span>* out);
size_t user_in_url(std::string_view text, Span candidate, std::vector<Span>* out);

std::string as_is(std::string_view value);
std::string lower_case(std::string_view value);
std::string digits_only(std::string_view value);

size_t unfinished_email(std::string_view text);
size_t unfinished_card(std::string_view text);
size_t unfinished_ssn(std::string_view text);
size_t unfinished_key(std::string_view text);
size_t unfinished_secret(std::string_view text);

// Name of a field, parameter or flag whose value is a secret whatever it looks like: password,
// api_key, --hf-token, OPENAI_API_KEY. Case, '-' and '_' do not matter. Not for a plain "token" or
// "key" (log probabilities and caches use them) unless `plain` says so.
bool is_secret_name(std::string_view name, bool plain);
bool is_ssn_name(std::string_view name);
// Nine digits that may have been issued.
bool plausible_ssn(std::string_view digits);

}  // namespace infertrail
