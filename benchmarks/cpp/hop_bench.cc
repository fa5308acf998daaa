// SPDX-License-Identifier: Apache-2.0
//
// What a request pays at least for being answered by another thread: a futex wakes the worker, the worker answers
// through an eventfd, an epoll of the asker returns. Nothing else is done. One round trip after every pause, so that
// both sides have gone to sleep, as behind a lone request. Prints the median in microseconds.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

void worker(const std::atomic<std::uint32_t>& word, int answers, std::uint32_t trips) {
  for (std::uint32_t done = 0; done < trips; ++done) {
    while (word.load() == done) {
      syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, done, nullptr, nullptr, 0);
    }
    const std::uint64_t one = 1;
    if (write(answers, &one, sizeof(one)) != sizeof(one)) std::abort();
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int trips = count == 3 ? std::stoi(arguments[1]) : 0;
  const double pause = count == 3 ? std::stod(arguments[2]) : 0;
  if (trips < 1) {
    std::fprintf(stderr, "usage: hop_bench TRIPS PAUSE_SECONDS\n");
    return 2;
  }
  const int answers = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int loop = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  if (answers < 0 || loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, answers, &event) != 0) {
    std::perror("hop_bench");
    return 2;
  }
  std::atomic<std::uint32_t> word{0};
  std::thread thread(worker, std::cref(word), answers, static_cast<std::uint32_t>(trips));
  std::vector<double> times;
  for (int i = 0; i < trips; ++i) {
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
    const auto begin = Clock::now();
    word.fetch_add(1);
    syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
    epoll_event ready{};
    while (epoll_wait(loop, &ready, 1, -1) != 1) {
    }
    std::uint64_t value = 0;
    if (read(answers, &value, sizeof(value)) != sizeof(value)) std::abort();
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  thread.join();
  close(loop);
  close(answers);
  std::ranges::sort(times);
  std::printf("%.3f\n", times[times.size() / 2]);
  return 0;
}
