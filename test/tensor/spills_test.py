#!/usr/bin/env python3
"""The finder of spills, on listings made up for it."""

import unittest

import spills

# Both styles of operands: llvm-objdump puts blanks behind commas, binutils does not.
LISTING = """
avx2.o:     file format elf64-x86-64

0000000000000000 <void ration::(anonymous namespace)::hot<ration::Type<1> >(long, float*)>:
       0:      \tvmovaps\t%ymm0, 0x20(%rsp)
       8:      \tvmovaps\t%ymm3, %ymm4
      10:      \tvpaddd\t0x20(%rsp), %ymm1, %ymm2 # reads a spill
      18:      \tvmovups\t%ymm2,(%rsp)
      20:      \tvmovdqa\t%ymm1,%ymm5
      28:      \tvpaddd\t0x40(%rsp,%rax), %ymm1, %ymm2
      30:      \tmovq\t%rax, 0x8(%rsp)
      38:      \tvmovd\t%eax, %xmm1
      40:      \tvaddps\t(%rdi), %ymm1, %ymm2
      48:      \tjne\t0x10 <void ration::(anonymous namespace)::hot<>(long, float*)+0x10>
      50:      \tvmovaps\t0x20(%rsp), %ymm0
      58:      \tjl\t0x8 <the outer loop>
      60:      \tretq

0000000000000070 <ration::framed(float*)>:
      70:\tmov    %rsp,%rbp
      73:\tvaddps -0x30(%rbp),%zmm1,%zmm2
      78:\tjmp    73 <ration::framed(float*)+0x3>

0000000000000080 <ration::frameless(float*)>:
      80:\tvaddps 0x30(%rbp),%zmm1,%zmm2
      88:\tjmp    80 <ration::frameless(float*)>
"""


class Spills(unittest.TestCase):
    def setUp(self):
        self.bodies = dict(spills.functions(LISTING))

    def test_names_are_told_without_namespaces_and_arguments(self):
        self.assertEqual(list(self.bodies), ["hot<Type<1>>", "framed", "frameless"])

    def test_only_the_innermost_of_nested_loops_counts(self):
        self.assertEqual(spills.innermost_loops(self.bodies["hot<Type<1>>"]), [(0x10, 0x48)])

    def test_stack_operands_and_copies_of_vectors_are_counted(self):
        self.assertEqual(spills.count(self.bodies["hot<Type<1>>"]), (2, 1))

    def test_rbp_is_the_frame_only_where_it_is_made_so(self):
        self.assertEqual(spills.count(self.bodies["framed"]), (1, 0))
        self.assertEqual(spills.count(self.bodies["frameless"]), (0, 0))

    def test_more_than_the_allowance_is_a_complaint_and_less_is_none(self):
        found = {("avx2", "hot<A, 2>"): (2, 1), ("avx2", "cold"): (0, 0)}
        written = spills.write_allowance(found)
        self.assertEqual(written.splitlines()[1:], ["  2   1 avx2 hot<A, 2>"])
        allowed = spills.read_allowance(written)
        self.assertEqual(spills.complaints(found, allowed), [])
        fewer = {("avx2", "hot<A, 2>"): (0, 0)}
        self.assertEqual(spills.complaints(fewer, allowed), [])
        for worse in ((3, 1), (2, 2)):
            self.assertEqual(len(spills.complaints({("avx2", "hot<A, 2>"): worse}, allowed)), 1)
        self.assertEqual(len(spills.complaints({("avx512", "hot<A, 2>"): (1, 0)}, allowed)), 1)


if __name__ == "__main__":
    unittest.main()
