// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <atomic>
#include <csignal>
#include <string>

#include <pthread.h>
#include <sys/resource.h>

#include "anya/status.h"
#include "support/check.h"

using anya::start_thread;

TEST(Thread, BlocksEverySignalThatCanBeBlocked) {
  sigset_t mask;
  sigemptyset(&mask);
  start_thread("anya-test", [&mask] { pthread_sigmask(SIG_SETMASK, nullptr, &mask); }).join();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGPIPE, SIGALRM, SIGPROF}) {
    EXPECT_EQ(sigismember(&mask, signal), 1);
  }
}

TEST(Thread, LeavesTheStartersSignalsAsTheyWere) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGUSR2);
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &wanted, &before);
  start_thread("anya-test", [] {}).join();
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, &before, &after);
  EXPECT_EQ(sigismember(&after, SIGUSR2), 1);
  EXPECT_EQ(sigismember(&after, SIGINT), 0);
}

TEST(Thread, CarriesFifteenCharactersOfItsName) {
  std::atomic<bool> named{false};
  std::jthread thread = start_thread("anya-a-very-long-name", [&named] { named.wait(false); });
  char name[16] = {};
  pthread_getname_np(thread.native_handle(), name, sizeof(name));
  named.store(true);
  named.notify_all();
  thread.join();
  EXPECT_EQ(std::string(name), "anya-a-very-lon");
}

TEST(Thread, QuietWorkGivesWayAndNobodyElseDoes) {
  int inside = -1;
  anya::run_quietly("anya-test", [&inside] { inside = getpriority(PRIO_PROCESS, 0); });
  const int outside = getpriority(PRIO_PROCESS, 0);
  EXPECT_TRUE(inside >= 10 || inside == 19);
  EXPECT_TRUE(inside > outside || outside >= 10);
  int later = -1;
  start_thread("anya-test", [&later] { later = getpriority(PRIO_PROCESS, 0); }).join();
  EXPECT_EQ(later, outside);
}

TEST(Thread, QuietWorkThrowsToWhoWaits) {
  EXPECT_ERROR(anya::ErrorCode::kModelInvalid,
               anya::run_quietly("anya-test", [] { throw anya::Error(anya::ErrorCode::kModelInvalid, "no model"); }));
}
