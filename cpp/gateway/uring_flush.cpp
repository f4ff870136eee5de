#include "gateway/uring_flush.hpp"

#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "env/planted_fault.hpp"

namespace carillon {

#ifdef IORING_SETUP_DEFER_TASKRUN

namespace {

constexpr unsigned kEntries = 1'024;
constexpr std::size_t kVectors = 4'096;
constexpr std::size_t kVectorsPerMessage = 64;
constexpr int kRetries = 100;

/// Without MSG_WAITALL a short send would be a success, and a success says nothing.
constexpr std::uint32_t kRingSendFlags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;

class Mapping {
 public:
  Mapping(int descriptor, std::size_t bytes, std::uint64_t offset)
      : address_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor,
                        static_cast<off_t>(offset))),
        bytes_(bytes) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (is_there()) ::munmap(address_, bytes_);
  }
  [[nodiscard]] bool is_there() const { return address_ != MAP_FAILED; }
  template <typename T>
  [[nodiscard]] T* at(std::uint32_t offset) const {
    return reinterpret_cast<T*>(static_cast<char*>(address_) + offset);
  }

 private:
  void* address_;
  std::size_t bytes_;
};

std::uint32_t load_acquire(std::uint32_t* place) {
  return std::atomic_ref(*place).load(std::memory_order_acquire);
}
void store_release(std::uint32_t* place, std::uint32_t value) {
  std::atomic_ref(*place).store(value, std::memory_order_release);
}

}  // namespace

/// The kernel's two queues. Filled and emptied within one flush.
class UringFlush::Ring {
 public:
  Ring(int descriptor, const io_uring_params& params)
      : descriptor_(descriptor),
        rings_(descriptor,
               std::max(params.sq_off.array + params.sq_entries * sizeof(std::uint32_t),
                        params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe)),
               IORING_OFF_SQ_RING),
        places_(descriptor, params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES) {
    if (!is_whole()) return;
    sq_tail_ = rings_.at<std::uint32_t>(params.sq_off.tail);
    cq_head_ = rings_.at<std::uint32_t>(params.cq_off.head);
    cq_tail_ = rings_.at<std::uint32_t>(params.cq_off.tail);
    cq_mask_ = *rings_.at<std::uint32_t>(params.cq_off.ring_mask);
    completions_ = rings_.at<io_uring_cqe>(params.cq_off.cqes);
    sends_ = places_.at<io_uring_sqe>(0);
    size_ = params.sq_entries;
    tail_ = begin_ = *sq_tail_;
    auto* order = rings_.at<std::uint32_t>(params.sq_off.array);
    for (std::uint32_t place = 0; place < size_; ++place) {
      order[place] = place;
      // What is the same for every send is written once: the kernel reads its places, it does not change
      // them.
      io_uring_sqe& send = sends_[place];
      send = {};
      send.flags = IOSQE_CQE_SKIP_SUCCESS;
      send.msg_flags = kRingSendFlags;
      send.user_data = place;
    }
    lists_.resize(size_);
    messages_.resize(size_);
    vectors_.reserve(kVectors);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { ::close(descriptor_); }

  [[nodiscard]] bool is_whole() const { return rings_.is_there() && places_.is_there(); }
  [[nodiscard]] bool is_empty() const { return tail_ == begin_; }
  /// How many may still be added.
  [[nodiscard]] std::uint32_t room() const { return size_ - (tail_ - begin_); }
  [[nodiscard]] bool has_room_for_message() const {
    return room() > 0 && vectors_.size() + kVectorsPerMessage <= kVectors;
  }

  /// Adds the lists of one slice each that begin at `slice`. Returns where it stopped: at `end`, at a list of
  /// several, or because the ring is full.
  const Slice* add_singles(const Slice* slice, const Slice* end) {
    // Copies: for all that a compiler knows, what is written to the queue may be one of them.
    io_uring_sqe* const sends = sends_;
    const Slice** const lists = lists_.data();
    const std::uint32_t mask = size_ - 1;
    const std::uint32_t full = begin_ + size_;
    std::uint32_t tail = tail_;
    for (; slice != end; ++slice) {
      if (slice->outlet == nullptr) continue;
      const std::string_view bytes = slice->bytes();
      if (slice->next != nullptr || bytes.empty() || tail == full) break;
      const std::size_t size = has_fault<PlantedFault::lost_frame>(100) ? 0 : bytes.size();
      const std::uint32_t place = tail++ & mask;
      fill(sends[place], *slice, IORING_OP_SEND, bytes.data(), size);
      lists[place] = slice;
    }
    tail_ = tail;
    return slice;
  }
  /// Several slices in one send; there is room.
  void add_message(const Slice& first) {
    const std::size_t begin = vectors_.size();
    for (const Slice* slice = &first; slice != nullptr; slice = slice->next) {
      const std::string_view bytes = slice->bytes();
      if (!bytes.empty()) vectors_.push_back({const_cast<char*>(bytes.data()), bytes.size()});
    }
    const std::uint32_t place = tail_++ & (size_ - 1);
    msghdr& message = messages_[place];
    message = {};
    message.msg_iov = vectors_.data() + begin;
    message.msg_iovlen = vectors_.size() - begin;
    fill(sends_[place], first, IORING_OP_SENDMSG, &message, 1);
    lists_[place] = &first;
  }

  /// Hands over what was added. Of the first slices of the lists, calls `failed(first, result)` for each send
  /// that was not a whole success, then `sent(first)` for each that the kernel took on, and `left(first)` for
  /// each that it did not.
  template <typename Failed, typename Sent, typename Left>
  void submit(Failed&& failed, Sent&& sent, Left&& left) {
    store_release(sq_tail_, tail_);
    const std::uint32_t taken = begin_ + enter(tail_ - begin_);
    std::uint32_t head = *cq_head_;
    for (const std::uint32_t end = load_acquire(cq_tail_); head != end; ++head) {
      const io_uring_cqe& completion = completions_[head & cq_mask_];
      failed(*lists_[completion.user_data], completion.res);
    }
    store_release(cq_head_, head);
    const Slice* const* const lists = lists_.data();
    const std::uint32_t mask = size_ - 1;
    for (std::uint32_t i = begin_; i != taken; ++i) sent(*lists[i & mask]);
    for (std::uint32_t i = taken; i != tail_; ++i) left(*lists[i & mask]);
    tail_ = begin_ = taken;
    store_release(sq_tail_, tail_);
    vectors_.clear();
  }

 private:
  static void fill(io_uring_sqe& send, const Slice& first, std::uint8_t operation, const void* data,
                   std::size_t length) {
    send.opcode = operation;
    send.fd = first.outlet->descriptor;
    send.addr = reinterpret_cast<std::uintptr_t>(data);
    send.len = static_cast<std::uint32_t>(length);
  }
  /// How many the kernel has taken on, in order.
  [[nodiscard]] std::uint32_t enter(std::uint32_t count) const {
    std::uint32_t taken = 0;
    for (int tries = 0; taken < count && tries < kRetries; ++tries) {
      const std::int64_t done =
          ::syscall(SYS_io_uring_enter, descriptor_, count - taken, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
      if (done > 0) taken += static_cast<std::uint32_t>(done);
      if (done < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY) break;
    }
    return taken;
  }

  int descriptor_;
  Mapping rings_;
  Mapping places_;
  std::uint32_t* sq_tail_ = nullptr;
  std::uint32_t* cq_head_ = nullptr;
  std::uint32_t* cq_tail_ = nullptr;
  io_uring_cqe* completions_ = nullptr;
  io_uring_sqe* sends_ = nullptr;
  std::uint32_t cq_mask_ = 0;
  std::uint32_t size_ = 0;   // a power of two
  std::uint32_t begin_ = 0;  // what stands in [begin_, tail_) is to be handed over
  std::uint32_t tail_ = 0;
  std::vector<const Slice*> lists_;  // by place
  std::vector<msghdr> messages_;     // by place
  std::vector<iovec> vectors_;       // never grows: messages point into it
};

std::unique_ptr<UringFlush> UringFlush::make(std::string& why_not) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL;
  const long descriptor = ::syscall(SYS_io_uring_setup, kEntries, &params);
  if (descriptor < 0) {
    why_not = "the kernel or a container forbids it: " + std::generic_category().message(errno);
    return nullptr;
  }
  auto ring = std::make_unique<Ring>(static_cast<int>(descriptor), params);
  constexpr std::uint32_t kNeeded =
      IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_CQE_SKIP;
  if (!ring->is_whole() || (params.features & kNeeded) != kNeeded) {
    why_not = "this kernel's io_uring lacks what is needed";
    return nullptr;
  }
  return std::unique_ptr<UringFlush>(new UringFlush(std::move(ring)));
}

UringFlush::UringFlush(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {}

UringFlush::~UringFlush() = default;

void UringFlush::flush(TurnOutput& output, Millis now_ms, FlushReport& report) {
  const std::span<const Slice> slices = output.slices();
  const Slice* slice = slices.data();
  const Slice* const end = slice + slices.size();
  while ((slice = ring_->add_singles(slice, end)) != end) {
    if (ring_->room() == 0) {
      submit(output, now_ms, report);
    } else {
      add_several(output, *slice++, now_ms, report);
    }
  }
  submit(output, now_ms, report);
}

void UringFlush::add_several(TurnOutput& output, const Slice& first, Millis now_ms, FlushReport& report) {
  std::size_t pieces = 0;
  for (const Slice* slice = &first; slice != nullptr; slice = slice->next) {
    pieces += slice->bytes().empty() ? 0 : 1;
  }
  if (pieces == 0 || pieces > kVectorsPerMessage) {
    return flush_one(output, first, now_ms, report);
  }
  if (!ring_->has_room_for_message()) submit(output, now_ms, report);
  ring_->add_message(first);
}

void UringFlush::submit(TurnOutput& output, Millis now_ms, FlushReport& report) {
  if (ring_->is_empty()) return;
  ring_->submit(
      [&](const Slice& first, std::int32_t result) { account_short(output, first, result, now_ms, report); },
      [&](const Slice& first) {
        if (first.outlet->last_slice == nullptr) return;  // accounted for already: it was short
        account_whole(first, report);
      },
      [&](const Slice& first) { flush_one(output, first, now_ms, report); });
}

#else  // no header of a kernel that can do it

class UringFlush::Ring {};

std::unique_ptr<UringFlush> UringFlush::make(std::string& why_not) {
  why_not = "it was not compiled in: the kernel headers are older than Linux 6.1";
  return nullptr;
}
UringFlush::~UringFlush() = default;
void UringFlush::flush(TurnOutput& /*output*/, Millis /*now_ms*/, FlushReport& /*report*/) {}

#endif

}  // namespace carillon
