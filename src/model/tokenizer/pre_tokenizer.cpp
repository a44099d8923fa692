#include "model/tokenizer/pre_tokenizer.h"

#include <algorithm>

namespace ration {

namespace {

using Kind = Stage::Kind;
using Lead = RunRule::Lead;
using Tail = WordRule::Tail;
using Case = WordRule::Case;

// Letters of the scripts that have case, as the DeepSeek models list them.
constexpr CodeRange kCasedLetters[] = {
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},
    {0xd8, 0xf6},       {0xf8, 0x1ba},      {0x1bc, 0x1bf},     {0x1c4, 0x293},
    {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x377},     {0x37b, 0x37d},
    {0x37f, 0x37f},     {0x386, 0x386},     {0x388, 0x38a},     {0x38c, 0x38c},
    {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},     {0x48a, 0x52f},
    {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},   {0x13f8, 0x13fd},
    {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},   {0x1d6b, 0x1d77},
    {0x1d79, 0x1d9a},   {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},   {0x1f20, 0x1f45},
    {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},   {0x1f5b, 0x1f5b},
    {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},   {0x1fb6, 0x1fbc},
    {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},   {0x1fd0, 0x1fd3},
    {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},   {0x1ff6, 0x1ffc},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210a, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211d},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},   {0x213c, 0x213f},
    {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2184},   {0x2c00, 0x2c7b},
    {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},   {0x2cf2, 0x2cf3},   {0xa640, 0xa66d},
    {0xa680, 0xa69b},   {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},
    {0xab70, 0xabbf},   {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},
    {0xff41, 0xff5a},   {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb},
    {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943}};
// ASCII but digits and white space, full-width marks, quotes, CJK comma and stop.
constexpr CodeRange kDeepSeekMarks[] = {{0x21, 0x2f},     {0x3a, 0x7e},     {0x2018, 0x201f},
                                        {0x3001, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e}};
// What their expression for CJK and Hangul covers.
constexpr CodeRange kDeepSeekWide[] = {{0x800, 0x9fa5}, {0xac00, 0xd7ff}};
// CJK, Kana, Hangul, Thai, Lao, Khmer, Myanmar and what lies between some of them.
constexpr CodeRange kAsianScripts[] = {{0xe40, 0xeff},   {0x1000, 0x109f}, {0x1100, 0x11ff},
                                       {0x1780, 0x17ff}, {0x2f00, 0x2fdf}, {0x3040, 0x30ff},
                                       {0x3400, 0x4dbf}, {0x4e00, 0xfaff}, {0xff65, 0xff9f}};
// CJK ideographs as of Unicode 1.1, Hiragana, Katakana.
constexpr CodeRange kHanKana[] = {{0x3040, 0x30ff}, {0x4e00, 0x9fa5}};
constexpr CodeRange kHangul[] = {{0x3131, 0x318e}, {0xac00, 0xd7a3}};
constexpr CodeRange kBopomofo[] = {{0x3105, 0x312f}};
constexpr CodeRange kWideMarks[] = {{0x2014, 0x2014}, {0x2018, 0x2019}, {0x201c, 0x201d},
                                    {0x2026, 0x2026}, {0x3001, 0x303f}, {0xfe30, 0xfe4f},
                                    {0xff01, 0xff01}, {0xff0c, 0xff0c}, {0xff1a, 0xff1b}};
// What ends a word in the Bloom family: ( ) | . , ! ? and their like in other scripts.
constexpr CodeRange kBloomStops[] = {{0x21, 0x21},     {0x28, 0x29},     {0x2c, 0x2c},
                                     {0x2e, 0x2e},     {0x3f, 0x3f},     {0x7c, 0x7c},
                                     {0x60c, 0x60c},   {0x6d4, 0x6d4},   {0x964, 0x964},
                                     {0x2026, 0x2026}, {0x3001, 0x3002}, {0xff0c, 0xff0c}};
constexpr CodeRange kNewlines[] = {{'\n', '\n'}, {'\r', '\r'}};
constexpr CodeRange kAsciiDigits[] = {{'0', '9'}};
constexpr CodeRange kAsciiMarks[] = {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}};
constexpr CodeRange kAsciiSymbols[] = {{'$', '$'}, {'+', '+'}, {'<', '>'},
                                       {'^', '^'}, {'|', '|'}, {'~', '~'}};
constexpr CodeRange kAsciiSymbolsAndTick[] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'},
                                              {'`', '`'}, {'|', '|'}, {'~', '~'}};

constexpr Stage runs(std::span<const RunRule> rules) {
  return {.kind = Kind::kRuns, .runs = rules};
}
constexpr Stage words(const WordRule& rule) { return {.kind = Kind::kWords, .word = rule}; }

constexpr RunRule kDigit[] = {{.set = {.flags = kNumber}, .max = 1}};
constexpr RunRule kThreeDigits[] = {{.set = {.flags = kNumber}, .max = 3}};
constexpr RunRule kDigits[] = {{.set = {.flags = kNumber}}};
constexpr RunRule kThreeAscii[] = {{.set = {.ranges = kAsciiDigits}, .min = 3, .max = 3}};
constexpr RunRule kNewline[] = {{.set = {.ranges = kNewlines}, .max = 1}};
constexpr RunRule kMarks[] = {{.set = {.flags = kPunctuation, .ranges = kAsciiSymbols}}};
constexpr RunRule kMarksAndTick[] = {
    {.set = {.flags = kPunctuation, .ranges = kAsciiSymbolsAndTick}}};
constexpr RunRule kOneMark[] = {{.set = {.flags = kPunctuation, .ranges = kAsciiMarks}, .max = 1}};
constexpr RunRule kNotSpace[] = {{.set = {.flags = kSpace, .negated = true}}};
constexpr RunRule kHanKanaRun[] = {{.set = {.ranges = kHanKana}}};
constexpr RunRule kAsianRun[] = {{.set = {.ranges = kAsianScripts}}};
constexpr RunRule kWideRun[] = {{.set = {.ranges = kDeepSeekWide}}};
constexpr RunRule kCasedRun[] = {{.set = {.ranges = kCasedLetters}, .lead = Lead::kWhiteSpace}};
constexpr RunRule kDeepSeekMarkRun[] = {
    {.set = {.ranges = kDeepSeekMarks}, .lead = Lead::kWhiteSpace}};
constexpr RunRule kLetterRun[] = {{.set = {.flags = kLetter}, .lead = Lead::kWhiteSpace}};
constexpr RunRule kPunctuationRun[] = {{.set = {.flags = kPunctuation}, .lead = Lead::kWhiteSpace}};
constexpr RunRule kBloomRun[] = {
    {.set = {.flags = kSpace, .ranges = kBloomStops, .negated = true}, .lead = Lead::kSpace}};
constexpr RunRule kYoutuRuns[] = {{.set = {.ranges = kHangul}},
                                  {.set = {.ranges = kWideMarks}},
                                  {.set = {.ranges = kBopomofo}},
                                  {.set = {.ranges = kHanKana}}};

constexpr WordRule kLlama3Words = {.contraction_first = true, .digits_max = 3};
constexpr WordRule kJais2Words = {
    .contraction_first = true, .digits_max = 3, .halving_spaces = true};
constexpr WordRule kAllDigitsWords = {.contraction_first = true, .digits_max = ~0u};
constexpr WordRule kQwen2Words = {.contraction_first = true, .digits_max = 1};
constexpr WordRule kQwen35Words = {.contraction_first = true,
                                   .letters = kLetter | kMark,
                                   .digits_max = 1,
                                   .marks = 0xff & ~(kLetter | kMark | kNumber)};
constexpr WordRule kSeedWords = {.contraction_first = true, .digits_max = 1, .tail = Tail::kNone};
constexpr WordRule kPlainWords = {.digits_max = 1};
constexpr WordRule kSpacedWords = {.contraction_first = true,
                                   .letter_case = Case::kSpaced,
                                   .digits_max = 1,
                                   .tail = Tail::kOneNewlineOrSlash};
constexpr WordRule kDeepSeek3Words = {.marked_word_first = true,
                                      .letters = kLetter | kMark,
                                      .not_before = kLetter | kPunctuation | kSymbol,
                                      .marks = kPunctuation | kSymbol};
constexpr WordRule kSparkWords = {.marked_word_first = true,
                                  .letters = kLetter | kMark,
                                  .not_before = kLetter | kPunctuation | kSymbol,
                                  .marks = kPunctuation | kSymbol,
                                  .tail = Tail::kNone,
                                  .single_newlines = true};
constexpr WordRule kTekkenWords = {
    .letter_case = Case::kCamel, .digits_max = 1, .tail = Tail::kNewlinesAndSlashes};
constexpr WordRule kGpt4oWords = {.letter_case = Case::kCamel,
                                  .contraction_after = true,
                                  .digits_max = 3,
                                  .tail = Tail::kNewlinesAndSlashes};
constexpr WordRule kGraniteWords = {.letters = kLetter | kMark,
                                    .letter_case = Case::kCamel,
                                    .contraction_after = true,
                                    .digits_max = 3,
                                    .tail = Tail::kNewlinesAndSlashes};
constexpr WordRule kAyaWords = {.letters = kLetter | kMark,
                                .contraction_after = true,
                                .digits_max = 3,
                                .tail = Tail::kNewlinesAndSlashes};
constexpr WordRule kYoutuWords = {.letters = kLetter | kMark,
                                  .contraction_after = true,
                                  .digits_max = 1,
                                  .tail = Tail::kNewlinesAndSlashes};

constexpr Stage kGpt2 = {.kind = Kind::kGpt2};

constexpr Stage kDefaultStages[] = {runs(kMarks), kGpt2, runs(kDigits), runs(kThreeAscii)};
constexpr Stage kGpt2Stages[] = {kGpt2};
constexpr Stage kDigitGpt2Stages[] = {runs(kDigit), kGpt2};
constexpr Stage kFalconStages[] = {runs(kMarksAndTick), kGpt2, runs(kThreeAscii)};
constexpr Stage kLlama3Stages[] = {words(kLlama3Words)};
constexpr Stage kJais2Stages[] = {words(kJais2Words)};
constexpr Stage kMiniCpm5Stages[] = {runs(kThreeDigits), words(kAllDigitsWords)};
constexpr Stage kQwen2Stages[] = {words(kQwen2Words)};
constexpr Stage kQwen35Stages[] = {words(kQwen35Words)};
constexpr Stage kSeedStages[] = {words(kSeedWords)};
constexpr Stage kPlainStages[] = {words(kPlainWords)};
constexpr Stage kExaoneMoeStages[] = {words(kSpacedWords)};
constexpr Stage kLagunaStages[] = {{.kind = Kind::kLines}, words(kQwen2Words)};
constexpr Stage kDeepSeekStages[] = {runs(kNewline),         runs(kCasedRun),
                                     runs(kDeepSeekMarkRun), {.kind = Kind::kTrailingSpace},
                                     runs(kWideRun),         runs(kDigits)};
constexpr Stage kDeepSeekCoderStages[] = {runs(kNewline), runs(kLetterRun), runs(kPunctuationRun),
                                          runs(kWideRun), runs(kDigit)};
constexpr Stage kDeepSeek3Stages[] = {runs(kThreeDigits), runs(kHanKanaRun),
                                      words(kDeepSeek3Words)};
constexpr Stage kSparkStages[] = {runs(kThreeDigits), runs(kHanKanaRun), words(kSparkWords),
                                  runs(kDigit)};
constexpr Stage kAfmoeStages[] = {
    {.kind = Kind::kDigitsByThree}, runs(kAsianRun), words(kDeepSeek3Words)};
constexpr Stage kYoutuStages[] = {runs(kYoutuRuns), words(kYoutuWords)};
constexpr Stage kBloomStages[] = {runs(kBloomRun)};
constexpr Stage kVikingStages[] = {runs(kBloomRun), runs(kDigit)};
constexpr Stage kTekkenStages[] = {words(kTekkenWords)};
constexpr Stage kGpt4oStages[] = {words(kGpt4oWords)};
constexpr Stage kGraniteStages[] = {words(kGraniteWords)};
constexpr Stage kAyaStages[] = {{.kind = Kind::kDigitsByThree}, words(kAyaWords)};
constexpr Stage kKimiStages[] = {{.kind = Kind::kKimi}};
constexpr Stage kSuperStages[] = {runs(kDigits), {.kind = Kind::kThousands}};
constexpr Stage kLineStages[] = {{.kind = Kind::kLines}};
constexpr Stage kWhiteSpaceStages[] = {runs(kNotSpace)};
constexpr Stage kChameleonStages[] = {{.kind = Kind::kSentinel},
                                      {.kind = Kind::kImageCode},
                                      {.kind = Kind::kIndent},
                                      runs(kDigit),
                                      runs(kOneMark),
                                      kGpt2};

constexpr uint8_t kLlama3Traits = kWholeWordsFirst | kAddsBos;
constexpr uint8_t kGemmaTraits = kEscapesSpaces | kRawBytes | kWholeNewlines | kAlwaysAddsBos;

constexpr PreTokenizer kPreTokenizers[] = {
    {"default", kDefaultStages},
    {"gpt-2", kGpt2Stages},
    {"phi-2", kGpt2Stages},
    {"jina-es", kGpt2Stages},
    {"jina-de", kGpt2Stages},
    {"jina-v1-en", kGpt2Stages},
    {"jina-v2-es", kGpt2Stages},
    {"jina-v2-de", kGpt2Stages},
    {"jina-v2-code", kGpt2Stages},
    {"roberta-bpe", kGpt2Stages},
    {"gigachat", kGpt2Stages},
    {"a.x-4.0", kGpt2Stages},
    {"mellum", kGpt2Stages},
    {"modern-bert", kGpt2Stages},
    {"mpt", kGpt2Stages},
    {"olmo", kGpt2Stages},
    {"jais", kGpt2Stages},
    {"trillion", kGpt2Stages},
    {"granite-docling", kGpt2Stages},
    {"exaone4", kGpt2Stages},
    {"starcoder", kDigitGpt2Stages},
    {"refact", kDigitGpt2Stages},
    {"command-r", kDigitGpt2Stages},
    {"smollm", kDigitGpt2Stages},
    {"codeshell", kDigitGpt2Stages},
    {"exaone", kDigitGpt2Stages},
    {"minerva-7b", kDigitGpt2Stages},
    {"mellum2", kDigitGpt2Stages},
    {"falcon", kFalconStages},
    {"llama3", kLlama3Stages, kLlama3Traits},
    {"llama-v3", kLlama3Stages, kLlama3Traits},
    {"llama-bpe", kLlama3Stages, kLlama3Traits},
    {"falcon3", kLlama3Stages, kLlama3Traits},
    {"falcon-h1", kLlama3Stages, kLlama3Traits},
    {"pixtral", kLlama3Stages, kLlama3Traits},
    {"midm-2.0", kLlama3Stages, kLlama3Traits},
    {"lfm2", kLlama3Stages, kLlama3Traits},
    {"jina-v5-nano", kLlama3Stages, kLlama3Traits},
    {"dbrx", kLlama3Stages},
    {"smaug-bpe", kLlama3Stages},
    {"chatglm-bpe", kLlama3Stages, kNoDefaultBos},
    {"glm4", kLlama3Stages, kNoDefaultBos | kWholeWordsFirst},
    {"glm5", kLlama3Stages, kNoDefaultBos | kWholeWordsFirst},
    {"jais-2", kJais2Stages},
    {"minicpm5", kMiniCpm5Stages, kWholeWordsFirst},
    {"qwen2", kQwen2Stages},
    {"deepseek-r1-qwen", kQwen2Stages},
    {"kormo", kQwen2Stages},
    {"f2llmv2", kQwen2Stages},
    {"megrez", kQwen2Stages},
    {"stablelm2", kQwen2Stages},
    {"hunyuan", kQwen2Stages},
    {"solar-open", kQwen2Stages},
    {"grok-2", kQwen2Stages},
    {"bailingmoe", kQwen2Stages},
    {"bailingmoe2", kQwen2Stages},
    {"llada-moe", kQwen2Stages},
    {"qwen35", kQwen35Stages},
    {"seed-coder", kSeedStages},
    {"ufakzeka", kPlainStages},
    {"exaone-moe", kExaoneMoeStages},
    {"laguna", kLagunaStages},
    {"deepseek-llm", kDeepSeekStages},
    {"deepseek-coder", kDeepSeekCoderStages},
    {"deepseek-v3", kDeepSeek3Stages},
    {"hunyuan-dense", kDeepSeek3Stages},
    {"joyai-llm", kDeepSeek3Stages},
    {"hy_v4", kDeepSeek3Stages},
    {"spark2_5", kSparkStages},
    {"afmoe", kAfmoeStages},
    {"youtu", kYoutuStages, kWholeWordsFirst},
    {"poro-chat", kBloomStages},
    {"bloom", kBloomStages},
    {"gpt3-finnish", kBloomStages},
    {"viking", kVikingStages},
    {"tekken", kTekkenStages, kWholeWordsFirst | kAddsBos},
    {"gpt-4o", kGpt4oStages},
    {"llama4", kGpt4oStages},
    {"kanana2", kGpt4oStages},
    {"talkie", kGpt4oStages},
    {"minimax-m2", kGpt4oStages},
    {"granite-embed-multi-97m", kGraniteStages, kWholeWordsFirst},
    {"tiny_aya", kAyaStages},
    {"cohere2moe", kAyaStages},
    {"kimi-k2", kKimiStages},
    {"superbpe", kSuperStages},
    {"chameleon", kChameleonStages, kAddsBos},
    {"gemma4", kLineStages, kGemmaTraits},
    {"granite-embed-multi-311m", kLineStages, kGemmaTraits},
    {"sarvam-moe", kLineStages, kEscapesSpaces | kRawBytes},
    {"whitespace", kWhiteSpaceStages, kRawBytes},
};

}  // namespace

std::span<const PreTokenizer> pre_tokenizers() { return kPreTokenizers; }

const PreTokenizer* find_pre_tokenizer(std::string_view name) {
  if (name.empty()) name = "default";
  const auto found = std::find_if(std::begin(kPreTokenizers), std::end(kPreTokenizers),
                                  [&](const PreTokenizer& row) { return row.name == name; });
  return found == std::end(kPreTokenizers) ? nullptr : found;
}

}  // namespace ration
