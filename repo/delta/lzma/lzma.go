// Package lzma packs and unpacks the xz streams of static deltas: one block, the filter LZMA2, a CRC64 at the end.
//
// It works on bytes in memory and touches no file. What [Compress] makes every xz reads, and it is a function of the data
// and the options: the same twice is the same bytes. It looks for the cheapest sequence of symbols at the prices that
// the model has just then, over matches from binary trees, as the higher levels of xz do; the memory is that of the
// tables, whatever the data. [NewReader] takes any xz stream and is bounded by the size of the dictionary; how much a
// stream may unpack to is for its caller to limit.
package lzma
