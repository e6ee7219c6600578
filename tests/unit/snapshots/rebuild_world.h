// Stores that are lost but for their packs, for tests of what is made again of them.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "snapshots/store_environment.h"
#include "snapshots/store_rebuild.h"
#include "tests/unit/snapshots/sealed_world.h"

namespace quoin {

class RebuildWorld : public SealedWorld {
 protected:
  static constexpr uint64_t kBlocks = 12;
  const std::string content_ = PatternOf(1, kBlocks* kBlockBytes);

  static std::string With(std::string content, uint64_t first_block, const std::string& part) {
    return content.replace(first_block * kBlockBytes, part.size(), part);
  }

  struct KnownSnapshot {
    SnapshotRecord record;
    std::string content;
  };
  struct KnownVdi {
    Id id;
    std::string content;
    std::vector<KnownSnapshot> snapshots;
  };
  using Known = std::map<std::string, KnownVdi>;

  // Several snapshots, one of what was sealed already, a clone, an import, and a head that was
  // sealed after its newest snapshot; two are in a folder.
  void MakeVdis() {
    ASSERT_OK(store_->MakeFolder("lab"));
    const Id a = CreateWith("lab/a", content_);
    Snapshot("lab/a", "empty handed");
    WriteBlocks(a, 3, PatternOf(2, 2 * kBlockBytes));
    Snapshot("lab/a", "tuesday");
    ASSERT_OK(store_->ResizeVdi(a, (kBlocks + 3) * kBlockBytes, false, false));
    Seal(a);
    Snapshot("lab/a", "of the sealed");
    Seal(a);
    ASSERT_OK_AND_ASSIGN(const Id clone, store_->CloneVdi(a, "tuesday", "lab/clone", Attributes()));
    Seal(clone);
    ASSERT_OK(Import("imported", With(content_, 2, std::string(3 * kBlockBytes, '\0')), 1 << 20));
    const Id d = CreateWith("d", PatternOf(5, content_.size()));
    Snapshot("d", "s");
    WriteBlocks(d, 1, PatternOf(6, kBlockBytes));
    Seal(d);
  }

  Known Capture() {
    Known known;
    const Result<std::vector<NamedVdi>> all = store_->ListAll("");
    EXPECT_OK(all);
    for (const NamedVdi& named : all ? *all : std::vector<NamedVdi>()) {
      KnownVdi vdi{named.id, Content(named.id), {}};
      const auto snapshots = store_->ListSnapshots(named.id);
      EXPECT_OK(snapshots);
      for (const SnapshotRecord& record : snapshots ? *snapshots : std::vector<SnapshotRecord>()) {
        vdi.snapshots.push_back({record, SnapshotContent(named.id, record.id)});
      }
      known[named.name] = std::move(vdi);
    }
    return known;
  }

  static void ExpectSame(const KnownVdi& found, const KnownVdi& expected) {
    EXPECT_EQ(found.id, expected.id);
    EXPECT_TRUE(found.content == expected.content);
    ASSERT_EQ(found.snapshots.size(), expected.snapshots.size());
    for (size_t n = 0; n < found.snapshots.size(); ++n) {
      const SnapshotRecord& is = found.snapshots[n].record;
      const SnapshotRecord& was = expected.snapshots[n].record;
      SCOPED_TRACE(was.name);
      EXPECT_EQ(is.id, was.id);
      EXPECT_EQ(is.name, was.name);
      EXPECT_EQ(is.ordinal, was.ordinal);
      EXPECT_EQ(is.size_bytes, was.size_bytes);
      EXPECT_EQ(is.data_blocks, was.data_blocks);
      EXPECT_EQ(is.created_ns, was.created_ns);
      EXPECT_EQ(is.digest, was.digest);
      EXPECT_TRUE(is.attributes == was.attributes);
      EXPECT_TRUE(found.snapshots[n].content == expected.snapshots[n].content);
    }
  }

  void ExpectSame(const Known& expected) {
    Reopen();
    const Known found = Capture();
    EXPECT_EQ(found.size(), expected.size());
    for (const auto& [name, vdi] : expected) {
      SCOPED_TRACE(name);
      ASSERT_EQ(found.count(name), 1u);
      ExpectSame(found.at(name), vdi);
    }
  }

  // Durably; of what lies in the store's folder.
  void Lose(const std::vector<std::string>& names) {
    store_.reset();
    for (const std::string& name : names) {
      const std::string path = "/store/" + name;
      const Result<FileFacts> facts = fs_.Facts(path);
      if (!facts) continue;
      ASSERT_OK(facts->kind == EntryKind::kDirectory ? RemoveTree(fs_, path) : fs_.Remove(path));
      ASSERT_OK(fs_.SyncDirectory(ParentPathOf(path)));
    }
  }
  static std::string ParentPathOf(const std::string& path) {
    return path.substr(0, path.rfind('/'));
  }
  void LoseAllButPacks() { Lose({"quoin.store", "names", "vdis", "gc", "groups", "hosts", "tmp"}); }

  Result<RebuildReport> TryRebuild(bool dry_run = false) {
    store_.reset();
    RebuildOptions options;
    options.dry_run = dry_run;
    options.store = TestOptions();
    return StoreRebuild(fs_, "/store", TestHost(1), options).Run();
  }
  RebuildReport Rebuild() {
    const Result<RebuildReport> report = TryRebuild();
    EXPECT_OK(report);
    return report.value_or(RebuildReport());
  }
  // All was brought back, and another time nothing is left to do.
  RebuildReport RebuildAll() {
    RebuildReport report = Rebuild();
    for (const LeftOut& left : report.left_out) ADD_FAILURE() << left.object << ": " << left.why;
    const RebuildReport again = Rebuild();
    EXPECT_TRUE(again.vdis.empty());
    EXPECT_TRUE(again.left_out.empty());
    EXPECT_FALSE(again.new_superblock);
    return report;
  }

  CollectReport Collect() {
    CollectOptions options;
    options.grace = std::chrono::milliseconds(0);
    options.patience = std::chrono::milliseconds(0);
    options.reserve_bytes = 0;
    options.min_live_percent = 100;
    const Result<CollectReport> report = store_->Collect(options);
    EXPECT_OK(report);
    return report.value_or(CollectReport());
  }

  Id IdOf(const std::string& name) {
    const Result<NameFacts> facts = store_->Lookup(name);
    EXPECT_OK(facts) << name;
    return facts ? facts->vdi : Id();
  }
  bool Exists(const std::string& path) {
    const Result<bool> exists = PathExists(fs_, path);
    return exists && *exists;
  }
  void Scribble(const std::string& path) {
    ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open(path, {Access::kReadWrite}));
    ASSERT_OK(file->Write(0, AsBytes(std::string(8192, '!'))));
    ASSERT_OK(file->Sync(SyncKind::kFull));
  }
};

}  // namespace quoin
