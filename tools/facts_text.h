// Listings and facts as people read them, made from the JSON that --json prints.
#pragma once

#include "tools/json.h"

namespace quoin {

void PrintVdiTable(const Json& list);       // quoin ls -l
void PrintVdi(const Json& facts);           // quoin info VDI
void PrintSnapshotTable(const Json& list);  // quoin snap ls
void PrintSnapshot(const Json& facts);      // quoin info VDI@SNAPSHOT
void PrintLockTable(const Json& list);      // quoin lock ls
void PrintLock(const Json& facts);          // quoin lock show
void PrintMountTable(const Json& list);     // quoin status
void PrintClusterTable(const Json& facts);  // quoin status --cluster

}  // namespace quoin
