// Pulls one reference, as a process that tests can kill. Arguments: REFERENCE [BYTES]; the second
// limits the size of files this process may write. Prints the error and ends with 1 when the pull
// fails.
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>

#include "model/store/store.h"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  if (argc > 2) {
    ::signal(SIGXFSZ, SIG_IGN);  // the write fails instead
    const rlimit limit{static_cast<rlim_t>(std::atoll(argv[2])),
                       static_cast<rlim_t>(std::atoll(argv[2]))};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  const ration::SteadyClock clock;
  const ration::Result<ration::Store> store = ration::Store::open(clock);
  if (!store) return 2;
  const ration::Result<ration::ResolvedModel> model = store->pull(argv[1]);
  if (!model) std::fprintf(stderr, "%s\n", model.error().message.c_str());
  return model ? 0 : 1;
}
