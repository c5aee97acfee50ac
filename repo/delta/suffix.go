package delta

// sortSuffixes returns the starts of all suffixes of text in their order. It sorts by induction (Nong, Zhang and Chan,
// "Two Efficient Algorithms for Linear Time Suffix Array Construction", 2011): in linear time, with four bytes of memory
// for each byte of text and little beside. It uses buf for the result when that is large enough.
func sortSuffixes(buf []int32, text []byte) []int32 {
	if cap(buf) < len(text) {
		buf = make([]int32, len(text))
	}
	sa := buf[:len(text)]
	induceSort(text, sa, 256)
	return sa
}

// suffixTypes says for each suffix whether it is smaller than the next one; text behaves as if it ended with a symbol
// smaller than all others.
func suffixTypes[T byte | int32](text []T) []bool {
	small := make([]bool, len(text))
	for i := len(text) - 2; i >= 0; i-- {
		small[i] = text[i] < text[i+1] || text[i] == text[i+1] && small[i+1]
	}
	return small
}

// sorter sorts the suffixes of one text over the symbols 0 to len(count)-1.
type sorter[T byte | int32] struct {
	text   []T
	sa     []int32
	small  []bool
	count  []int32 // how often each symbol stands in text
	bucket []int32
}

func induceSort[T byte | int32](text []T, sa []int32, symbols int) {
	n := len(text)
	if n == 0 {
		return
	}
	s := &sorter[T]{text: text, sa: sa, small: suffixTypes(text), count: make([]int32, symbols), bucket: make([]int32, symbols)}
	for _, c := range text {
		s.count[c]++
	}
	fill(sa, -1)
	s.ends()
	for i := n - 1; i > 0; i-- {
		if s.turn(i) {
			s.bucket[text[i]]--
			sa[s.bucket[text[i]]] = int32(i)
		}
	}
	s.induce()
	m := 0
	for _, p := range sa {
		if s.turn(int(p)) {
			sa[m] = p
			m++
		}
	}
	s.sortTurns(m)
	// Now that the turning points are in order, everything else follows from them.
	fill(sa[m:], -1)
	s.ends()
	for i := m - 1; i >= 0; i-- {
		p := sa[i]
		sa[i] = -1
		c := text[p]
		s.bucket[c]--
		sa[s.bucket[c]] = p
	}
	s.induce()
}

func fill(a []int32, x int32) {
	for i := range a {
		a[i] = x
	}
}

// turn says whether a suffix that is smaller than its successor follows one that is larger than its own.
func (s *sorter[T]) turn(i int) bool { return i > 0 && s.small[i] && !s.small[i-1] }

func (s *sorter[T]) starts() {
	sum := int32(0)
	for c, n := range s.count {
		s.bucket[c] = sum
		sum += n
	}
}

func (s *sorter[T]) ends() {
	sum := int32(0)
	for c, n := range s.count {
		sum += n
		s.bucket[c] = sum
	}
}

// induce puts first the large and then the small suffixes into order, from the turning points that are in sa.
func (s *sorter[T]) induce() {
	text, sa, small, bucket := s.text, s.sa, s.small, s.bucket
	s.starts()
	last := len(text) - 1
	sa[bucket[text[last]]] = int32(last)
	bucket[text[last]]++
	for i := range sa {
		if j := sa[i] - 1; j >= 0 && !small[j] {
			c := text[j]
			sa[bucket[c]] = j
			bucket[c]++
		}
	}
	s.ends()
	for i := len(sa) - 1; i >= 0; i-- {
		if j := sa[i] - 1; j >= 0 && small[j] {
			c := text[j]
			bucket[c]--
			sa[bucket[c]] = j
		}
	}
}

// sortTurns sorts the m turning points in sa[:m], which are in the order of what stands up to the next one: it gives
// each stretch a name and sorts the text of the names.
func (s *sorter[T]) sortTurns(m int) {
	sa, n := s.sa, len(s.text)
	fill(sa[m:], -1)
	names, prev := int32(0), -1
	for i := range m {
		p := int(sa[i])
		if prev < 0 || !s.equalStretch(prev, p) {
			names++
			prev = p
		}
		sa[m+p/2] = names - 1
	}
	at := n
	for i := n - 1; i >= m; i-- {
		if sa[i] >= 0 {
			at--
			sa[at] = sa[i]
		}
	}
	word := sa[n-m:]
	if int(names) < m {
		induceSort(word, sa[:m], int(names))
	} else {
		for i, c := range word {
			sa[c] = int32(i)
		}
	}
	k := 0
	for i := 1; i < n; i++ {
		if s.turn(i) {
			word[k] = int32(i)
			k++
		}
	}
	for i, x := range sa[:m] {
		sa[i] = word[x]
	}
}

// equalStretch compares two texts up to and with their next turning points.
func (s *sorter[T]) equalStretch(a, b int) bool {
	n := len(s.text)
	for d := 0; ; d++ {
		if a+d >= n || b+d >= n || s.text[a+d] != s.text[b+d] || s.small[a+d] != s.small[b+d] {
			return false
		}
		if d > 0 && (s.turn(a+d) || s.turn(b+d)) {
			return true
		}
	}
}
