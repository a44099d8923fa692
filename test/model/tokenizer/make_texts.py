#!/usr/bin/env python3
"""Writes texts.txt: what every vocabulary is compared on. Deterministic.

One text a line. The first character is how llama.cpp is asked: p plain, s with special tokens added
and parsed. Then a space and the text, with \\n \\r \\t \\\\ and \\xNN for bytes, and \\*N;X for N times the
(possibly escaped) character X.
"""

import pathlib
import random

# The Universal Declaration of Human Rights, article 1 (or its start), and other plain sentences.
REAL = [
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et "
    "de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos; ¿verdad? ¡Sí!",
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İstanbul'da IĞDIR'ın kışı soğuktur.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и "
    "совестью и должны поступать в отношении друг друга в духе братства.",
    "Усі люди народжуються вільними і рівними у своїй гідності та правах; п'ять об'єктів.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
    "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։",
    "יולדו כל בני האדם בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון.",
    "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم "
    "بعضًا بروح الإخاء.",
    "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند، شماره ۱۲۳۴۵.",
    "तमाम इंसान पैदाइशी आज़ाद हैं। सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। ১২৩৪৫",
    "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும், உரிமைகளிலும் சமமானவர்கள்.",
    "ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.",
    "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടും കൂടി ജനിച്ചവരാണ്.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ๑๒๓ บาท",
    "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ ສິດທິ ເສລີພາບ ແລະ ຄວາມສະເໝີພາບເທົ່າທຽມກັນ.",
    "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ တူညီလွတ်လပ်သော အခွင့်အရေးများဖြင့် လည်းကောင်း မွေးဖွားလာသူများ ဖြစ်သည်။",
    "មនុស្សទាំងអស់កើតមកមានសេរីភាព និងភាពស្មើៗគ្នា ក្នុងសេចក្ដីថ្លៃថ្នូរ និងសិទ្ធិ។",
    "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌། ཐོབ་ཐངགི་རང་དབང་འདྲ་མཉམ་དུ་ཡོད་ལ།",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "人人生而自由﹐在尊嚴和權利上一律平等。他們賦有理性和良心﹐並應以兄弟關係的精神互相對待。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。カタカナ・ﾊﾝｶｸ。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. ㄱㄴㄷ ㅏㅑ",
    "ㄅㄆㄇㄈ ㄓㄨˋ ㄧㄣ 注音符號，「引號」……【括號】〈書名〉",
    "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
    "ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ ᎠᏂᏣᎳᎩ ꭰꮒ", "ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ ᚛ᚉᚑᚅᚔᚉᚉᚔᚋ᚜",
    "The quick brown fox jumps over the lazy dog. It's what we've got; I'll say they're THEY'RE "
    "DON'T don't y'all rock'n'roll 'tis 'twas o'clock 's 'S 'Re 'vE 'll 'LL",
    "In 1969, 3 men flew 384,400 km: $12.50, 1,234,567.89 and 0x1F4A9 -- 50% of 10^6 (±0.5)…",
    "HTTPServer XMLHttpRequest camelCaseWord snake_case_word SCREAMING_CASE kebab-case iPhone McDonald "
    "ÉCOLE École éCOLE ǅungla ﬁn ªº ʰ",
    "E-mail: someone.else+tag@example.org, https://www.example.com/a/b?c=d&e=%20f#g ~/file.txt C:\\dir\\x",
    "\u201cQuotes\u201d \u2018single\u2019 \u00abguillemets\u00bb \u2014dash\u2013 \u2026 \u00a9\u00ae\u2122 \u00a7 \u00b6 \u00b5m \u00bd \u00b2 \u2167 \u2460 \u2030",
]

CODE = [
    "def f(x: int = 3) -> str:\n    \"\"\"Doc.\"\"\"\n    if x >= 10 and not y:\n\treturn f'{x:>8}' + \"\\n\"\n"
    "        # comment\n\n\nclass A(B):\n    pass\n",
    "#include <vector>\nint main(int argc, char** argv) {\n  for (size_t i = 0; i < n; ++i) { a[i] += b[i] << 2; }\n"
    "  return *p->q != 0x7fffffff ? 1 : -1;  // done\n}\n",
    "SELECT a.id, COUNT(*) AS n FROM t1 a LEFT JOIN t2 b ON a.id=b.id WHERE b.x IS NULL GROUP BY 1;\r\n--end\r\n",
    "{\"key\": [1, 2.5e-3, null, true], \"nested\": {\"a\": \"\\u00e9\"}}\n",
    "<html><body class=\"x\"><p>1 &lt; 2 &amp;&amp; 3</p><!-- c --><br/></body></html></s><s><b>b</b>",
    "\\begin{equation} \\frac{a}{b} = \\sum_{i=0}^{n} x_i^2 \\end{equation} $$\\alpha$$",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n- item\n  * sub\n\t1. num\n\n> quote\n```\ncode\n```\n",
    "x=1;y=2;z=x+y;print(z)//====//----//####//****",
    "a/b//c\n/d /\n/ e\r\n//\n\n/", "diff --git a/x b/x\n@@ -1,2 +1,3 @@\n-old\n+new\n context",
]

EMOJI = [
    "😀 🚀🚀 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☃ ✅️ 1️⃣ #️⃣ 🧑🏿‍🚀 text😀text",
    "🤷🏻‍♀️🤷🏻‍♀️ (╯°□°)╯︵ ┻━┻ ¯\\_(ツ)_/¯ ♔♕♖ ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋ 𝔸𝕓𝖈 𝟘𝟙𝟚 \U0001f9ff\U0001fae0",
]

MARKS = [
    "e\u0301 a\u0300\u0316 n\u0303 Z\u0334\u0321\u033eA\u0337L\u0338 \u0301alone \u0301\u0301 x\u20dd q\u0307\u0323",
    "\u0e33\u0e33 \u0947\u0902 \u094d \u093f\u0928 Åå Åå ﬃ ① ㎏ \u1100\u1161\u11a8 각",
    "a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg\u200eh \ufeffbom",
    "\u00a0nbsp\u00a0\u00a0x \u3000ideographic\u3000\u3000y \u2003em\u2009thin\u202fnarrow\u0085nel\u2028ls\u2029ps\u1680o",
    "\x00nul\x01\x02\x1f\x7f\u0080\u009f end\x0b\x0c", "\ue000\uf8ff\U000f0000 private \u0378\U0003ffff unassigned \ufffe \ufffd",
    "AЅcript МИХed ｆｕｌｌ　ｗｉｄｔｈ！？：；～ ｱｲｳ 𠀀𪛖 豈﨑 \U0002ebf0\u2ffc\u31ef",
]

RUNS = [
    "", " ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", " \n", "\n ", "\n \n", "\t\n\t", " \t ",
    "a ", " a", "a  ", "  a", "a\n", "\na", "a \n b", "a\n\n\n\nb", "a   b    c     d", "   \n   \n   x", "x \r\n \r\n y  ",
    "\\*5; x", "\\*8; x", "\\*16; x", "\\*17;  y", "\\*31; .", "\\*33; ", "\\*64; x", "\\*100; x\\*100; ", "\\*700; z",
    "\\*5;\\n", "\\*12;\\n", "\\*40;\\nx", "\\*3;\\t", "\\*9;\\tx", "\\*40;\\tx", "a\\*20;\\nb\\*20; c", "\\*6;\\r\\n", "\\*50;\\r",
    "\\*3;\u3000x\\*2;\u00a0y", "1", "12", "123", "1234", "12345", "123456", "1234567", "12345678", "\\*50;7", "1 2 3", "1a2b3c",
    " 1234 ", "12,345", "abc123def4567", "٣٤٥٦٧ १२३४५ ⅣⅤ ½¼ ²³ 一二三", "１２３４５６", "x²y³", "0.1.2.3", "\\*40;a", "\\*70;ab", "\\*300;a",
    "\\*60;é", "\\*60;中", "\\*60;😀", "\\*80;A", "\\*80;!", "\\*80;-", "\\*33;=\n", "\\*40;_", "\\*64;.", "!!!???...", "a.b.c.", "((()))[[]]{{}}",
    "'", "''", "'s", "'S", " 's", "'x", "I'd I'M we'RE 'll'VE'", "' s", "'\u017f", "''s't'", "\u2019s \u2019t",
    "!a", ".a.b", "-abc", "/abc/def", " /abc", "#include", "@name", "$var", "_x", "_", "__init__", "a_b", "~x", "=x", "+1", "<x>", "^x",
    "!\n", "! \n", "!\n\n", "!/\n/", "x!\r\n\r\ny", "?!\n?", "。\n\n「x」", "a.\n\nb", ";\n}\n", "),\n", "/\n", "//\n\n",
    "<sentinel:12> <sentinel:> <sentinel:1", "IMGIMGABCDZ IMGIMGABCDEZ IMGIMGZ IMGIMGAZ", "\\*4;  \\*2;x",
    "ABCdefGHI", "aB", "Ab", "AB", "ABc", "aBC", "éA", "Éa", "ÉA", "AÉ", "AÉB", "aéB", "中A", "A中b", "中文abc中文ABC", "abc中文", "中 文", "中1文2",
    "h e l l o", "a b", "a  b", "é è", "न म", "ab cd\u0301 ef", "\u0301a", " \u0301a", "\u0301A", "\u0301", "A\u0301B", "AB\u0301C", "\u0301AB!",
    "▁", "▁▁", " ▁ ", "▁a▁", "Ġ", "ĠaĊ", "Ã©", "â\x96\x81", "##ing", "a##b", "[UNK]", "[MASK]", "[CLS] a [SEP]", "<0x0A>", "<0xFF>x",
]

BROKEN = [
    "\\xff", "a\\xffb", "\\xc3", "\\xc3(", "x\\xe4\\xb8y", "\\xf0\\x9f\\x98", "\\x80\\x81", "ok \\xed\\xa0\\x80 surrogate", "\\xc0\\x80", "\\xc0\\xa0x", "\\xe0\\x80\\xaf",
    "\\xf8\\x88\\x80\\x80\\x80", "\\xfe\\xff", "caf\\xe9 latin1", "\\xe4\\xb8\\xad\\xe6\\x96", "\\xef\\xbf\\xbd", "mid\\xf0\\x9fdle \\x9f\\x98\\x80", "end \\xe2\\x82",
    "\\xe2\\x96", "\\xe2\\x96\\x81\\xe2", "\\xc3\\xa9\\xa9", "\\xe4ab", "\\xf0abc", "\\xf0a",
]

SPECIAL = [
    "", "Hello", " Hello", "Hello world\n", "<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\n Hi!<|im_end|>\n<|im_start|>assistant\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<s>[INST] Hi [/INST] there</s>", "<s> a</s> b <s>c", "<bos><start_of_turn>user\nHi<end_of_turn>\n",
    "<|user|>\n  Hi<|end|>\n  <|assistant|>\n \t x", "[gMASK]<sop><|user|>x", "<｜begin▁of▁sentence｜>User: x<｜end▁of▁sentence｜>", "<|endoftext|>a<|endoftext|>", "a <|endoftext|> b",
    "<unk> x <unk>", "<pad><pad>", "[CLS] a [SEP] b [MASK] c [PAD]", "x <mask> y <mask>z", "<mask>", "</s>", "<eos>", "<fim_prefix>a<fim_suffix>b<fim_middle>",
    "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|><|fim_pad|>", "<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>", "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>x<|END_OF_TURN_TOKEN|>", ">>TITLE<<x>>ABSTRACT<<",
    "<|im_start|><|im_end|>", "<|im_end|", "<<|im_end|>>", "<|turn>user\nx<turn|>", "<tool_call>\n{}\n</tool_call>", "<think>\n\n</think>\n\nx", "<unused3>", "<|reserved_special_token_5|>",
    "\n\n\n<|im_end|>\n\n\n   <|im_end|>   ", "<table><tr><td>1</td></tr></table>", "<0x0A><0x41>", "<filename>a.py<reponame>r<gh_stars>5", "<start_of_image><end_of_image>", "<commit_before>a<commit_after>",
    "\\*33;\\n\\*33; \\*33;\\t",
]
# The same texts a user might write: nothing in them is special unless it always is.
PLAIN_SPECIAL = [text for text in SPECIAL if text]

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyzABCDEF   ..,'\n", "aAbB zZéÉ 019 '!/\n\r\t_-", "的一是不了人我在有他这中，。 a1", "абвгдежз АБВ ,.ё1", "ابتث جحخ ،.ًٌ٣", "नमस्ते ािी ़ँं।१ ", "กขคงจ ่้๊็ัา๑",
    "가나다라 마바사. ㄱ1a", "あいうアイウー。、 漢字a", "😀🏽\u200d♀\ufe0f🇩🇪 a", " \n\t\r \n\n  x", "0123456789 ., x", "!@#$%^&*()_+{}|:\"<>?-=[]\\;',./`~ a\n", "\u0301\u0308aeiou AEIOU '", "▁a b<|im_>/s\n",
]


def random_texts(rng):
    for i in range(150):
        letters = rng.choice(ALPHABETS)
        if i % 3 == 0:
            letters += rng.choice(ALPHABETS)
        yield "".join(rng.choice(letters) for _ in range(rng.randint(1, 60)))
    for _ in range(60):  # any code point
        points = []
        while len(points) < 20:
            point = rng.choice([rng.randrange(0x250), rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x30000)])
            if not 0xD800 <= point < 0xE000:
                points.append(chr(point))
        yield "".join(points)
    for _ in range(40):  # any bytes
        data = bytes(rng.choice([rng.randrange(256), rng.randrange(0x20, 0x7F), rng.randrange(0x80, 0xC0)]) for _ in range(16))
        yield "".join(f"\\x{b:02x}" for b in data if not 0xF4 <= b <= 0xF7)


def escape(text):
    """Control characters that would break the line format; what is escaped already stays."""
    out = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return "".join(c if ord(c) >= 0x20 and c not in "\x7f\x85\u2028\u2029" else "".join(f"\\x{b:02x}" for b in c.encode()) for c in out)


def literal(text):
    return escape(text.replace("\\", "\\\\"))


def main():
    rng = random.Random(20260101)
    lines = ["p " + literal(t) for t in REAL + CODE + EMOJI + MARKS]
    lines += ["p " + escape(t) for t in RUNS + BROKEN]
    lines += ["p " + escape(t) for t in PLAIN_SPECIAL]
    for text in random_texts(rng):
        lines.append("p " + (text if text.startswith("\\x") else literal(text)))
    lines += ["s " + escape(t) for t in SPECIAL]
    lines += ["s " + literal(t) for t in REAL[:3] + CODE[:2]]
    path = pathlib.Path(__file__).with_name("texts.txt")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(len(lines), "texts")


if __name__ == "__main__":
    main()
