// Where text hides in what was sent: strings and numbers of JSON, JSON inside strings, percent
// escapes. Everything found is added to a Batch.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "mask/batch.h"
#include "mask/view.h"

namespace infertrail {

inline constexpr int kMaxJsonInside = 3;  // strings of JSON text inside strings, levels

// One text that a person or a program reads: itself, or, when it is JSON text, what is inside of
// it; and what its escapes mean. Returns true when it was JSON text. `depth`: see Batch::add().
bool add_text(const View& view, int depth, bool may_go_on, Batch* batch);

// Every name, string and number of a document parsed from outer.text().
void add_document(const json::Document& document, const View& outer, int depth, Batch* batch);

// Parts of add_document(), for readers that treat some strings in a way of their own.
void add_name(const json::Document& document, const json::Node& node, const View& outer,
              Batch* batch);
void add_number(const json::Document& document, const json::Node& node, const View& outer,
                int depth, Batch* batch);
// Masks the whole value of a member named like a secret ("password").
void force_by_name(const json::Document& document, const json::Node& node, const View& outer,
                   int depth, Batch* batch);

}  // namespace infertrail
