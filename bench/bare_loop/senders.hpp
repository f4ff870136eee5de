#pragma once

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace carillon::bench {

/// One send() per block, at once. Both senders report a socket that did not take a whole block in `slow()`.
class DirectSender {
 public:
  void send(int fd, std::string_view block) {
    ++sends_;
    const ssize_t sent = ::send(fd, block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != static_cast<ssize_t>(block.size())) slow_.push_back(fd);
  }
  /// Everything is sent when this returns: blocks may be changed.
  void flush() {}

  std::vector<int>& slow() { return slow_; }
  std::uint64_t sends() const { return sends_; }

 private:
  std::vector<int> slow_;
  std::uint64_t sends_ = 0;
};

/// The same sends, submitted through io_uring in batches of up to 1,024. They never wait (MSG_DONTWAIT), so
/// all of them are done when the system call returns. Only failures are told, and with MSG_WAITALL a short
/// send is one: without it, it would be silent.
class RingSender {
 public:
  RingSender() {
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    ring_ = static_cast<int>(syscall(SYS_io_uring_setup, kEntries, &params));
    if (ring_ < 0) die("io_uring_setup");
    if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0) die("io_uring without IORING_FEAT_SINGLE_MMAP");
    const std::size_t submission_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    const std::size_t completion_bytes = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
    auto* rings = static_cast<char*>(map(std::max(submission_bytes, completion_bytes), IORING_OFF_SQ_RING));
    entries_ = static_cast<io_uring_sqe*>(map(params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    submission_tail_ = reinterpret_cast<unsigned*>(rings + params.sq_off.tail);
    mask_ = *reinterpret_cast<unsigned*>(rings + params.sq_off.ring_mask);
    completion_head_ = reinterpret_cast<unsigned*>(rings + params.cq_off.head);
    completion_tail_ = reinterpret_cast<unsigned*>(rings + params.cq_off.tail);
    completion_mask_ = *reinterpret_cast<unsigned*>(rings + params.cq_off.ring_mask);
    completions_ = reinterpret_cast<io_uring_cqe*>(rings + params.cq_off.cqes);
    auto* order = reinterpret_cast<unsigned*>(rings + params.sq_off.array);
    for (unsigned i = 0; i < params.sq_entries; ++i) order[i] = i;  // slot i always holds entry i
  }
  RingSender(const RingSender&) = delete;
  RingSender& operator=(const RingSender&) = delete;
  ~RingSender() { close(ring_); }  // the mappings end with the process

  void send(int fd, std::string_view block) {
    ++sends_;
    io_uring_sqe& entry = entries_[tail_++ & mask_];
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_SEND;
    entry.flags = IOSQE_CQE_SKIP_SUCCESS;
    entry.fd = fd;
    entry.addr = reinterpret_cast<std::uint64_t>(block.data());
    entry.len = static_cast<unsigned>(block.size());
    entry.msg_flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
    entry.user_data = static_cast<std::uint64_t>(fd);
    if (++waiting_ == kEntries) flush();
  }

  void flush() {
    if (waiting_ == 0) return;
    std::atomic_ref<unsigned>(*submission_tail_).store(tail_, std::memory_order_release);
    while (waiting_ > 0) {
      const long taken = syscall(SYS_io_uring_enter, ring_, waiting_, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
      if (taken < 0 && errno != EINTR) die("io_uring_enter");
      if (taken > 0) waiting_ -= static_cast<unsigned>(taken);
    }
    unsigned head = *completion_head_;
    const unsigned tail = std::atomic_ref<unsigned>(*completion_tail_).load(std::memory_order_acquire);
    for (; head != tail; ++head) {
      slow_.push_back(static_cast<int>(completions_[head & completion_mask_].user_data));
    }
    std::atomic_ref<unsigned>(*completion_head_).store(head, std::memory_order_release);
  }

  std::vector<int>& slow() { return slow_; }
  std::uint64_t sends() const { return sends_; }

 private:
  static constexpr unsigned kEntries = 1024;

  [[noreturn]] static void die(const char* what) {
    std::perror(what);
    std::exit(1);
  }

  void* map(std::size_t bytes, std::uint64_t offset) const {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_,
                        static_cast<off_t>(offset));
    if (memory == MAP_FAILED) die("mmap of the ring");
    return memory;
  }

  int ring_ = -1;
  io_uring_sqe* entries_ = nullptr;
  unsigned* submission_tail_ = nullptr;
  unsigned* completion_head_ = nullptr;
  unsigned* completion_tail_ = nullptr;
  io_uring_cqe* completions_ = nullptr;
  unsigned mask_ = 0;
  unsigned completion_mask_ = 0;
  unsigned tail_ = 0;
  unsigned waiting_ = 0;
  std::vector<int> slow_;
  std::uint64_t sends_ = 0;
};

}  // namespace carillon::bench
