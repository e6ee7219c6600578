// A store on a simulated filesystem for the tests of this room, with the calls that they repeat.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "blockstore/base/block.h"
#include "metadata/superblock.h"
#include "tests/support/bytes.h"
#include "tests/support/result_matchers.h"
#include "tests/support/store_fixture.h"

namespace quoin {

// Runs `call` to its end as another process or another request would: holding none of the locks that
// this thread holds.
template <typename Call>
void OnAnotherThread(Call call) {
  std::thread(call).join();
}

class StoreWorld : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::default_logger();  // made by this thread: the library's own making of it is not checked
    ASSERT_OK(fs_.MakeDirectory("/store"));
    ASSERT_OK(fs_.SyncDirectory("/"));
    ASSERT_OK(InitialiseStore(fs_, "/store", "lz4"));
    store_ = OpenAs(1);
  }

  // As another process, of the same host or of another one.
  std::unique_ptr<Store> OpenAs(uint8_t host) {
    Result<std::unique_ptr<Store>> opened = OpenTestStore(fs_, host);
    EXPECT_OK(opened);
    return opened ? std::move(*opened) : nullptr;
  }

  // All that this process holds goes without a word, as if it had been killed; `open` are handles
  // of its store, which may not outlive it.
  void KillProcess(std::initializer_list<VdiHandle*> open = {}) {
    fs_.FailAfter(1, FaultMode::kCrash);
    for (VdiHandle* const handle : open) *handle = VdiHandle();
    store_.reset();
    fs_.Crash(CrashMode::kProcessOnly);
  }

  Id Create(const std::string& name, uint64_t blocks) {
    const Result<Id> made = store_->CreateVdi(name, blocks * kBlockBytes, Attributes());
    EXPECT_OK(made);
    return made.value_or(Id());
  }

  VdiHandle OpenVdi(const Id& id, Access access = Access::kReadWrite) {
    Result<VdiHandle> handle = store_->OpenVdi(id, access);
    EXPECT_OK(handle);
    return handle ? std::move(*handle) : VdiHandle();
  }

  // Makes a VDI whose blocks hold `content`, closed again.
  Id CreateWith(const std::string& name, const std::string& content) {
    const Id id = Create(name, BlocksOf(content.size()));
    VdiHandle handle = OpenVdi(id);
    EXPECT_OK(handle->Write(0, AsBytes(content)));
    EXPECT_OK(handle.Close());
    return id;
  }

  Id Snapshot(const std::string& vdi, const std::string& name) {
    EXPECT_OK(store_->CreateSnapshots({{vdi, name}}));
    const Result<NameFacts> facts = store_->Lookup(vdi);
    EXPECT_OK(facts);
    if (!facts) return Id();
    const Result<SnapshotRecord> record = store_->FindSnapshot(facts->vdi, name);
    EXPECT_OK(record);
    return record ? record->id : Id();
  }

  static std::string Read(Image& image, uint64_t offset, size_t length) {
    std::string bytes(length, '\xee');
    const Result<size_t> done = image.Read(offset, std::as_writable_bytes(std::span(bytes)));
    EXPECT_OK(done);
    bytes.resize(done.value_or(0));
    return bytes;
  }

  std::string Content(const Id& id) {
    VdiHandle reader = OpenVdi(id, Access::kRead);
    return reader ? Read(*reader, 0, reader->size_bytes()) : "";
  }

  std::string SnapshotContent(const Id& vdi, const Id& snapshot) {
    const Result<std::shared_ptr<Image>> image = store_->OpenSnapshot(vdi, snapshot);
    EXPECT_OK(image);
    return image ? Read(**image, 0, (*image)->size_bytes()) : "";
  }

  // Runs `other` once, right before the first call of this kind on such a path within `request`.
  template <typename Request, typename Other>
  void Within(Call call, const std::string& path_part, Request request, Other other) {
    bool done = false;
    fs_.SetObserver([&](Call seen, const std::string& path) {
      if (seen != call || path.find(path_part) == std::string::npos) return;
      if (std::exchange(done, true)) return;
      OnAnotherThread(other);
    });
    request();
    fs_.SetObserver(nullptr);
    EXPECT_TRUE(done) << "the request never made that call";
  }

  SimulatedFileSystem fs_;
  std::unique_ptr<Store> store_;
};

}  // namespace quoin
