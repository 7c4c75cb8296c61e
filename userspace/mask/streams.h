// A text that comes in pieces: strings at one JSON path of consecutive events, told apart by the
// numbers next to them (index, output_index, content_index, item_id) and the event's type.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "mask/batch.h"
#include "mask/view.h"

namespace infertrail {

class Streams {
 public:
  Streams(bool truncated, Batch* batch) : truncated_(truncated), batch_(batch) {}
  void add(const View& event);  // an event's data, in order
  void finish();                // adds the joined texts to the batch

 private:
  void add_document(const json::Document& document, const View& event);

  bool truncated_;
  Batch* batch_;
  std::map<std::string, std::vector<View>> pieces_;  // by path
};

}  // namespace infertrail
