// The blocking lanes of a mount, by what their requests may wait for: those that wait for another host, which
// may never answer, hold up nobody but each other. Owned by Operations.
#pragma once

#include "fuse/blocking_lane.h"

namespace quoin {

struct Lanes {
  // For another host to let go of a VDI, or to be known dead: OPEN of a VDI.
  BlockingLane opens{64};
  // The same, but with a lock of the kernel's held for which others wait: names, attributes, copies.
  BlockingLane changes{32};
  // For the storage: looking for names, attributes and listings, and opening what no host owns. The helpers
  // outlive whom they help.
  BlockingLane look_helpers{7};
  BlockingLane looks{16};
  // For the storage, while a guest waits: flushes and discards.
  BlockingLane flushes{64};
  // RELEASE. The kernel holds back reads and writes of all guests while it has sent as many of these as it
  // sends in the background (InitExchange) and none has been answered.
  BlockingLane releases{32};

  // Runs what is queued and joins the threads.
  void Stop() {
    for (BlockingLane* lane : {&opens, &changes, &looks, &look_helpers, &flushes, &releases}) {
      lane->Stop();
    }
  }
};

}  // namespace quoin
