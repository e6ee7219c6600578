#include "tests/model/model_host.h"

#include <utility>

#include "tests/support/store_fixture.h"

namespace quoin::model {
namespace {

Answer Told(const Status& status) {
  Answer answer;
  if (!status) answer.error = status.error();
  return answer;
}

Answer Refused(const Error& error) {
  Answer answer;
  answer.error = error;
  return answer;
}

StoreOptions OptionsOf(MonotonicClock& clock) {
  StoreOptions options;  // with the waits and the lease of a daemon
  options.collector_wait = std::chrono::milliseconds(0);
  options.frame_cache_bytes = uint64_t{1} << 20;
  options.node_cache_bytes = uint64_t{1} << 20;
  options.announces_itself = true;
  options.seal_threads = 1;
  options.finishes_in_background = false;
  options.clock = &clock;
  return options;
}

}  // namespace

std::string VdiName(int vdi) { return "vdi" + std::to_string(vdi); }

ModelHost::ModelHost(FileSystem& storage, VirtualTime& time, int number, int process, bool fences,
                     std::vector<Id> vdis)
    : time_(time),
      number_(number),
      vdis_(std::move(vdis)),
      party_(process),
      clock_(time, party_),
      seam_(storage, time, party_, fences) {
  time_.Add(party_);
  thread_ = std::thread([this] { Run(); });
}

ModelHost::~ModelHost() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
  time_.Remove(party_);
}

void ModelHost::Submit(std::function<Answer()> job) {
  busy_ = true;
  time_.Enter(party_);
  const std::lock_guard lock(mutex_);
  job_ = std::move(job);
  changed_.notify_all();
}

void ModelHost::Run() {
  for (;;) {
    std::function<Answer()> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return job_ != nullptr || ending_; });
      if (job_ == nullptr) return;
      job = std::exchange(job_, nullptr);
    }
    time_.Begin(party_);
    Answer answer = job();
    {
      const std::lock_guard lock(mutex_);
      answer_ = std::move(answer);
    }
    time_.Leave(party_);
  }
}

std::optional<Answer> ModelHost::TakeAnswer() {
  const std::lock_guard lock(mutex_);
  if (answer_) {
    busy_ = false;
    operation_.reset();
  }
  return std::exchange(answer_, std::nullopt);
}

void ModelHost::OpenStore() {
  Submit([this]() -> Answer {
    Result<std::unique_ptr<Store>> store = Store::Open(
        seam_, "/store", TestHost(static_cast<uint8_t>(number_ + 1)), OptionsOf(clock_));
    if (!store) return Refused(store.error());
    store_ = std::move(*store);
    time_.AwaitSleeper(party_);  // the lease's thread
    for (size_t vdi = 0; vdi < vdis_.size(); ++vdi) {
      (void)store_->Lookup(VdiName(static_cast<int>(vdi)));
    }
    return {};
  });
}

void ModelHost::CloseStore() {
  Submit([this]() -> Answer {
    handles_.clear();
    store_.reset();
    return {};
  });
}

void ModelHost::Do(const Operation& operation) {
  operation_ = operation;
  Submit([this, operation] { return Perform(operation); });
}

Answer ModelHost::Perform(const Operation& operation) {
  const Id& id = vdis_.at(static_cast<size_t>(operation.vdi));
  const auto handle = handles_.find(operation.vdi);
  switch (operation.act) {
    case Act::kOpen: return Open(operation.vdi);
    case Act::kClose: {
      const Status closed = handle->second.Close();
      handles_.erase(handle);
      return Told(closed);
    }
    case Act::kWrite: return Write(operation);
    case Act::kFlush: return Told(handle->second->Flush());
    case Act::kRead: return ReadImage(*handle->second, operation);
    case Act::kGlance: return Glance(operation);
    case Act::kSnapshot:
      return Told(store_->CreateSnapshots({{VdiName(operation.vdi), operation.snapshot}}));
    case Act::kReadSnapshot: return ReadSnapshot(operation);
    case Act::kSeal: {
      const Result<SealCounts> sealed = store_->SealVdi(id, false);
      return sealed ? Answer() : Refused(sealed.error());
    }
    case Act::kList: {
      const Result<std::vector<SnapshotRecord>> listed = store_->ListSnapshots(id);
      if (!listed) return Refused(listed.error());
      Answer answer;
      for (const SnapshotRecord& record : *listed) answer.names.push_back(record.name);
      return answer;
    }
  }
  return {};
}

Answer ModelHost::Open(int vdi) {
  const Id& id = vdis_.at(static_cast<size_t>(vdi));
  Result<VdiHandle> handle = store_->OpenVdi(id, Access::kReadWrite);
  if (!handle) return Refused(handle.error());
  handles_[vdi] = std::move(*handle);
  const Result<VdiInfo> info = store_->Describe(id);  // of what is open here: from memory
  Answer answer;
  answer.epoch = info && info->writer ? info->writer->epoch : 0;
  epochs_[vdi] = answer.epoch;
  return answer;
}

Answer ModelHost::Write(const Operation& operation) {
  VdiHandle& handle = handles_.at(operation.vdi);
  const uint64_t offset = operation.first * kSectorBytes;
  if (operation.value == kZeros) {
    return Told(handle->Zero(offset, operation.count * kSectorBytes));
  }
  std::vector<std::byte> bytes(operation.count * kSectorBytes);
  for (uint64_t i = 0; i < operation.count; ++i) {
    FillSector(operation.value, number_, epochs_[operation.vdi], operation.vdi,
               operation.first + i,
               std::span(bytes).subspan(i * kSectorBytes).first<kSectorBytes>());
  }
  return Told(handle->Write(offset, bytes));
}

Answer ModelHost::ReadImage(Image& image, const Operation& operation) const {
  std::vector<std::byte> bytes(operation.count * kSectorBytes);
  const Result<size_t> done = image.Read(operation.first * kSectorBytes, bytes);
  if (!done) return Refused(done.error());
  Answer answer;
  for (uint64_t i = 0; i < *done / kSectorBytes; ++i) {
    answer.values.push_back(
        ReadSector(operation.vdi, operation.first + i,
                   std::span(bytes).subspan(i * kSectorBytes).first<kSectorBytes>()));
  }
  return answer;
}

Answer ModelHost::Glance(const Operation& operation) {
  Result<VdiHandle> handle =
      store_->OpenVdi(vdis_.at(static_cast<size_t>(operation.vdi)), Access::kRead);
  if (!handle) return Refused(handle.error());
  return ReadImage(**handle, operation);
}

Answer ModelHost::ReadSnapshot(const Operation& operation) {
  const Id& id = vdis_.at(static_cast<size_t>(operation.vdi));
  const Result<SnapshotRecord> record = store_->FindSnapshot(id, operation.snapshot);
  if (!record) return Refused(record.error());
  const Result<std::shared_ptr<Image>> image = store_->OpenSnapshot(id, record->id);
  if (!image) return Refused(image.error());
  return ReadImage(**image, operation);
}

}  // namespace quoin::model
