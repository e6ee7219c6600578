#include "tools/verbs_gc.h"

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "snapshots/collect_report.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/units.h"

namespace quoin {
namespace {

struct GarbageArguments {
  std::string name;
  bool dry_run = false;
  uint64_t grace_s = static_cast<uint64_t>(kCollectGrace.count());
  bool details = false;
};

constexpr uint64_t kMaxGraceSeconds = 7 * 24 * 3600;

std::string SizeOf(const Json& json, const char* key) { return FormatSize(NumberOf(json, key)); }

void PrintCollected(const Json& report) {
  if (FlagOf(report, "dry_run")) {
    fmt::print("{} would be freed: {} packs, and {} in {} others; {} of {} in packs is garbage\n",
               FormatSize(NumberOf(report, "dead_pack_bytes") +
                          NumberOf(report, "sparse_pack_dead_bytes")),
               NumberOf(report, "dead_packs"), SizeOf(report, "sparse_pack_dead_bytes"),
               NumberOf(report, "sparse_packs"), SizeOf(report, "garbage_bytes"),
               SizeOf(report, "pack_bytes"));
  } else {
    fmt::print("{} freed: {} packs removed, {} rewritten\n", SizeOf(report, "freed_bytes"),
               NumberOf(report, "removed_packs"), NumberOf(report, "rewritten_packs"));
    if (NumberOf(report, "packs_without_room") > 0) {
      fmt::print("{} packs wait for room to be rewritten in\n",
                 NumberOf(report, "packs_without_room"));
    } else if (NumberOf(report, "waiting_bytes") > 0) {
      fmt::print("{} more is declared dead; a collection after the grace frees it\n",
                 SizeOf(report, "waiting_bytes"));
    }
  }
  if (NumberOf(report, "unreadable_packs") > 0) {
    fmt::print("{} packs are damaged and were left alone\n", NumberOf(report, "unreadable_packs"));
  }
}

int Collect(const Invocation& invocation, const GarbageArguments& arguments) {
  const Result<Target> target = ChooseTarget(invocation.store, {});
  if (!target) return ReportUsage(target.error(), "collect garbage");
  StoreRequest request;
  request.verb = "gc";
  request.dry_run = arguments.dry_run;
  request.grace_ms = arguments.grace_s * 1000;
  return RunRequest(target->root, request, [&](const Json& report) {
    if (invocation.json) {
      PrintJson(report);
    } else {
      PrintCollected(report);
    }
    return kDone;
  });
}

void PrintSpace(const Json& report) {
  PrintFacts(
      {{"logical", SizeOf(report, "logical_bytes")},
       {"unique", SizeOf(report, "unique_bytes")},
       {"shared", SizeOf(report, "shared_bytes")},
       {"stored", SizeOf(report, "stored_bytes")},
       {"unsealed", SizeOf(report, "layer_bytes")},
       {"metadata", SizeOf(report, "metadata_bytes")},
       {"reclaimable", SizeOf(report, "reclaimable_bytes")},
       {"packs", fmt::format("{}, {}", NumberOf(report, "packs"), SizeOf(report, "pack_bytes"))}});
  const auto vdis = report.find("vdis");
  if (vdis == report.end()) return;
  using Align = Table::Align;
  Table table({{"NAME"},
               {"LOGICAL", Align::kRight},
               {"UNIQUE", Align::kRight},
               {"UNSEALED", Align::kRight},
               {"REMOVAL FREES", Align::kRight}});
  for (const Json& vdi : *vdis) {
    const std::string name = TextOf(vdi, "name");
    table.AddRow({name, SizeOf(vdi, "logical_bytes"), SizeOf(vdi, "unique_bytes"),
                  SizeOf(vdi, "layer_bytes"),
                  FormatSize(NumberOf(vdi, "unique_bytes") + NumberOf(vdi, "layer_bytes"))});
    for (const Json& snapshot : vdi["snapshots"]) {
      table.AddRow({name + "@" + TextOf(snapshot, "name"), SizeOf(snapshot, "logical_bytes"), "",
                    "", SizeOf(snapshot, "freed_bytes")});
    }
  }
  fmt::print("\n");
  table.Print();
}

int MeasureSpace(const Invocation& invocation, const GarbageArguments& arguments) {
  const Result<Target> target = ChooseTarget(invocation.store, {});
  if (!target) return ReportUsage(target.error(), "measure what takes space");
  StoreRequest request;
  request.verb = "df";
  request.details = arguments.details;
  return RunRequest(target->root, request, [&](const Json& report) {
    if (invocation.json) {
      PrintJson(report);
    } else {
      PrintSpace(report);
    }
    return kDone;
  });
}

std::string ShownRange(const Json& range) {
  const std::string vdi = TextOf(range, "vdi");
  const std::string snapshot = TextOf(range, "snapshot");
  return fmt::format("{}: {} from byte {} on {}",
                     snapshot.empty() ? "vdis/" + vdi : vdi + "@" + snapshot,
                     SizeOf(range, "length_bytes"), NumberOf(range, "offset_bytes"),
                     FlagOf(range, "mended") ? "were damaged and are mended" : "are damaged");
}

void PrintScrubbed(const Json& report) {
  for (const Json& pack : report["damaged_packs"]) {
    fmt::print("pack {}: {}{}\n", TextOf(pack, "pack"), TextOf(pack, "what"),
               FlagOf(pack, "mended") ? "; mended" : "");
  }
  for (const Json& slots : report["damaged_slots"]) {
    const auto first = NumberOf(slots, "first");
    fmt::print("pack {}: {} in slots {} to {} {}\n", TextOf(slots, "pack"), TextOf(slots, "kind"),
               first, first + NumberOf(slots, "count") - 1,
               FlagOf(slots, "mended") ? "were damaged and are mended" : "are damaged");
  }
  for (const Json& range : report["damaged_ranges"]) fmt::print("{}\n", ShownRange(range));
  for (const Json& note : report["notes"]) fmt::print("{}\n", note.get<std::string>());
  fmt::print("{}: {} packs, {}, {} blocks compared with their digests\n",
             FlagOf(report, "damaged") ? "damage is left" : "no damage is left",
             NumberOf(report, "packs"), SizeOf(report, "pack_bytes"), NumberOf(report, "blocks"));
  if (NumberOf(report, "unsealed_layers") > 0) {
    fmt::print("{} layers are not sealed yet, so there is nothing to compare them with\n",
               NumberOf(report, "unsealed_layers"));
  }
}

int Scrub(const Invocation& invocation, const GarbageArguments& arguments) {
  const std::string& text = arguments.name;
  const std::string act = text.empty() ? "scrub the store" : "scrub " + text;
  const Result<Target> target =
      ChooseTarget(invocation.store, text.empty() ? std::vector<std::string>() : std::vector{text});
  if (!target) return ReportUsage(target.error(), act);
  StoreRequest request;
  request.verb = "scrub";
  request.dry_run = arguments.dry_run;
  if (!text.empty()) {
    const Result<SnapshotName> name = ParseVdiOrSnapshotName(target->names[0]);
    if (!name) return ReportUsage(name.error(), act);
    request.vdi = name->vdi;
    request.snapshot = name->snapshot;
  }
  return RunRequest(target->root, request, [&](const Json& report) {
    if (invocation.json) {
      PrintJson(report);
    } else {
      PrintScrubbed(report);
    }
    return FlagOf(report, "damaged") ? kFailed : kDone;
  });
}

}  // namespace

void AddGarbageVerbs(CLI::App& app, Invocation& invocation) {
  const auto arguments = std::make_shared<GarbageArguments>();
  CLI::App* gc = AddVerb(app, invocation, "gc", "Remove what no VDI refers to any more");
  gc->add_flag("--dry-run", arguments->dry_run, "Say what would be freed, change nothing");
  gc->add_option("--grace", arguments->grace_s,
                 "Seconds that what is dead stays for readers on other hosts")
      ->check(CLI::Range(uint64_t{0}, kMaxGraceSeconds))
      ->capture_default_str();
  AddJsonOption(*gc, invocation);
  SetAction(*gc, invocation, [&invocation, arguments] { return Collect(invocation, *arguments); });

  CLI::App* scrub = AddVerb(app, invocation, "scrub",
                            "Compare all that is sealed with its digests, and mend what can be");
  scrub->add_option("VDI[@SNAPSHOT]", arguments->name, "Only what it refers to");
  scrub->add_flag("--dry-run", arguments->dry_run, "Mend nothing");
  AddJsonOption(*scrub, invocation);
  SetAction(*scrub, invocation,
            [&invocation, arguments] { return Scrub(invocation, *arguments); });

  CLI::App* df = AddVerb(app, invocation, "df", "Show what takes space in the store");
  df->add_flag("-l,--long", arguments->details, "Of each VDI and snapshot too");
  AddJsonOption(*df, invocation);
  SetAction(*df, invocation,
            [&invocation, arguments] { return MeasureSpace(invocation, *arguments); });
}

}  // namespace quoin
