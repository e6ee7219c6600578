#include "tools/verbs_pack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <vector>

#include "blockstore/base/posix_file_system.h"
#include "metadata/host.h"
#include "snapshots/image.h"
#include "tools/local_socket.h"
#include "tools/target.h"
#include "tools/units.h"

namespace quoin {
namespace {

constexpr size_t kExportPieceBytes = size_t{4} << 20;

StoreRequest RequestOf(const std::string& verb, const std::string& vdi) {
  StoreRequest request;
  request.verb = verb;
  request.vdi = vdi;
  request.uid = geteuid();
  request.gid = getegid();
  return request;
}

int Seal(const Invocation& invocation, const std::string& text) {
  const std::string act = "seal " + text;
  const Result<Target> target = ChooseTarget(invocation.store, {text});
  if (!target) return ReportUsage(target.error(), act);
  const Result<std::string> vdi = ParseVdiName(target->names[0]);
  if (!vdi) return ReportUsage(vdi.error(), act);
  return RunRequest(target->root, RequestOf("seal", *vdi), [&](const Json& counts) {
    if (invocation.json) {
      PrintJson(counts);
    } else {
      fmt::print("{} of data: {} stored, {} stored already, {} zeros\n",
                 FormatSize(NumberOf(counts, "read_bytes")),
                 FormatSize(NumberOf(counts, "stored_bytes")),
                 FormatSize(NumberOf(counts, "shared_bytes") + NumberOf(counts, "kept_bytes")),
                 FormatSize(NumberOf(counts, "zero_bytes")));
    }
    return kDone;
  });
}

int Import(const Invocation& invocation, const std::string& file, const std::string& text) {
  const std::string act = fmt::format("import {} as {}", file, text);
  const Result<Target> target = ChooseTarget(invocation.store, {text});
  if (!target) return ReportUsage(target.error(), act);
  const Result<std::string> vdi = ParseVdiName(target->names[0]);
  if (!vdi) return ReportUsage(vdi.error(), act);
  StoreRequest request = RequestOf("import", *vdi);
  // Whoever does the work, this process or a daemon of this host, opens the path itself.
  request.path = file == "-" ? fmt::format("/proc/{}/fd/{}", getpid(), STDIN_FILENO)
                             : std::filesystem::absolute(file).string();
  return RunRequest(target->root, request, [&](const Json& facts) {
    if (invocation.json) PrintJson(facts);
    return kDone;
  });
}

Status WriteAll(int descriptor, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = write(descriptor, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailSystem(errno, fmt::format("cannot write {}", path));
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

// Holes stay holes in a file; a pipe gets zeros.
Status WriteImage(Image& image, int descriptor, const std::string& path) {
  struct stat facts{};
  const bool sparse = fstat(descriptor, &facts) == 0 && S_ISREG(facts.st_mode);
  std::vector<std::byte> buffer(kExportPieceBytes);
  const uint64_t size = image.size_bytes();
  for (uint64_t at = 0; at < size;) {
    if (sparse) {
      const Result<uint64_t> data = image.SeekData(at);
      if (!data && data.error().code != ErrorCode::kNoData) return Failure(data.error());
      at = data ? *data : size;
      if (at >= size) break;
      if (lseek(descriptor, static_cast<off_t>(at), SEEK_SET) < 0) {
        return FailSystem(errno, fmt::format("cannot write {}", path));
      }
    }
    uint64_t end = size;
    if (sparse) {
      QUOIN_ASSIGN(end, image.SeekHole(at));
    }
    while (at < end) {
      const auto piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), end - at));
      QUOIN_ASSIGN(const size_t n, image.Read(at, piece));
      if (n == 0) return Fail(ErrorCode::kIo, "the image ended before its size");
      QUOIN_TRY(WriteAll(descriptor, piece.first(n), path));
      at += n;
    }
  }
  if (!sparse) return {};
  if (ftruncate(descriptor, static_cast<off_t>(size)) != 0 || fsync(descriptor) != 0) {
    return FailSystem(errno, fmt::format("cannot write {}", path));
  }
  return {};
}

// In this process: what a snapshot is can be read by anyone, whoever owns its VDI.
Status ExportSnapshot(const std::string& root, const SnapshotName& name, const std::string& file) {
  PosixFileSystem file_system;
  QUOIN_ASSIGN(HostIdentity self, LoadHostIdentity(DefaultStateDir(), QUOIN_VERSION));
  QUOIN_ASSIGN(const std::unique_ptr<Store> store,
               Store::Open(file_system, root, std::move(self), StoreOptions{}));
  QUOIN_ASSIGN(const NameFacts facts, store->Lookup(name.vdi));
  if (facts.is_folder) return Fail(ErrorCode::kIsDirectory, name.vdi + " is a folder, not a VDI");
  QUOIN_ASSIGN(const SnapshotRecord record, store->FindSnapshot(facts.vdi, name.snapshot));
  QUOIN_ASSIGN(const std::shared_ptr<Image> image, store->OpenSnapshot(facts.vdi, record.id));
  if (file == "-") return WriteImage(*image, STDOUT_FILENO, "standard output");
  Descriptor out(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return FailSystem(errno, fmt::format("cannot make {}", file));
  const Status written = WriteImage(*image, out.number(), file);
  if (!written) (void)unlink(file.c_str());  // nothing half-made
  return written;
}

int Export(const Invocation& invocation, const std::string& text, const std::string& file) {
  const std::string act = fmt::format("export {} to {}", text, file);
  const Result<Target> target = ChooseTarget(invocation.store, {text});
  if (!target) return ReportUsage(target.error(), act);
  const Result<SnapshotName> name = ParseSnapshotName(target->names[0]);
  if (!name) return ReportUsage(name.error(), act);
  const Status exported = ExportSnapshot(target->root, *name, file);
  if (exported) return kDone;
  Error error = exported.error();
  if (!error.what.starts_with("cannot ")) error.what = fmt::format("cannot {}: {}", act, error.what);
  return Report(error, kFailed);
}

struct PackArguments {
  std::string name;
  std::string file;
};

}  // namespace

void AddPackVerbs(CLI::App& app, Invocation& invocation) {
  const auto arguments = std::make_shared<PackArguments>();
  CLI::App* seal = AddVerb(app, invocation, "seal", "Move what a VDI holds into packs now");
  seal->add_option("VDI", arguments->name, "The VDI")->required();
  AddJsonOption(*seal, invocation);
  SetAction(*seal, invocation,
            [&invocation, arguments] { return Seal(invocation, arguments->name); });

  CLI::App* import = AddVerb(app, invocation, "import", "Make a VDI of a raw image");
  import->add_option("FILE", arguments->file, "The image, or - for standard input")->required();
  import->add_option("VDI", arguments->name, "Its name; missing folders are made")->required();
  AddJsonOption(*import, invocation);
  SetAction(*import, invocation, [&invocation, arguments] {
    return Import(invocation, arguments->file, arguments->name);
  });

  CLI::App* export_verb = AddVerb(app, invocation, "export", "Write a snapshot to a raw file");
  export_verb->add_option("VDI@SNAPSHOT", arguments->name, "The snapshot")->required();
  export_verb->add_option("FILE", arguments->file, "A new file, or - for standard output")
      ->required();
  SetAction(*export_verb, invocation, [&invocation, arguments] {
    return Export(invocation, arguments->name, arguments->file);
  });
}

}  // namespace quoin
