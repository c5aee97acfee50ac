// Package lzma packs and unpacks the xz streams of static deltas.
package lzma
