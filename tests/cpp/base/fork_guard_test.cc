// SPDX-License-Identifier: Apache-2.0
#include "base/fork_guard.h"

#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

using anya::ForkGuard;

namespace {

// The exit status of a child that runs `body`; -1 when it died otherwise, of its alarm if it hung.
template <typename Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(100);
    _exit(body());
  }
  int state = 0;
  while (waitpid(child, &state, 0) < 0) {
  }
  return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

}  // namespace

TEST(ForkGuard, OwnerIsTheProcessThatMadeIt) {
  const ForkGuard guard;
  EXPECT_TRUE(guard.is_owner());
  EXPECT_TRUE(guard.is_owner());
}

TEST(ForkGuard, AChildIsNotTheOwnerAndTheParentStays) {
  const ForkGuard guard;
  EXPECT_EQ(in_child([&guard] { return guard.is_owner() ? 1 : 0; }), 0);
  EXPECT_TRUE(guard.is_owner());
}

TEST(ForkGuard, AGrandchildIsNotTheOwner) {
  const ForkGuard guard;
  EXPECT_EQ(in_child([&guard] { return in_child([&guard] { return guard.is_owner() ? 1 : 0; }); }), 0);
}

TEST(ForkGuard, AGuardMadeInAChildBelongsToTheChild) {
  const ForkGuard guard;
  EXPECT_EQ(in_child([&guard] {
              const ForkGuard own;
              return own.is_owner() && !guard.is_owner() ? 0 : 1;
            }),
            0);
}
