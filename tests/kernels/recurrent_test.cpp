/// Segments of LSTM and GRU against loops in double: every size class, any choice of outputs.

#include "support/cases/recurrent.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("lstm, gru: segments equal the naive loops, for any choice of outputs",
                   "[kernel][recurrent]", float, double) {
  for (const SegmentSize& size :
       {SegmentSize{{1, 1, 1}}, SegmentSize{{3, 2, 5}}, SegmentSize{{1, 9, 16}},
        SegmentSize{{4, 7, 17}}, SegmentSize{{2, 64, 33}}, SegmentSize{{5, 67, 8}}}) {
    check_segments<CpuBackend, TestType>(size, Choices::each, true, false);
    check_segments<CpuBackend, TestType>(size, Choices::all, false, true);
  }
}

TEMPLATE_TEST_CASE("lstm, gru: saturated gates", "[kernel][recurrent]", float, double) {
  check_segments<CpuBackend, TestType>({{3, 2, 4}}, Choices::all, true, false, 1e5);
}
