package main

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// A load is people who meet: pairs of one A and one B come at random, talk for a
// while and leave. How often somebody comes falls with his rank to the power of
// skew: 0 is everybody alike.
type load struct {
	name         string
	as, bs       int     // people on the two sides
	skewA, skewB float64 // 1 is a few who meet everybody, as drivers and shops do
	active       int     // pairs at once, about
	arrivals     int
	seed         uint64
}

// pair is one session: its two people, and its number while it lasts.
type pair struct {
	a, b, number int
	ends         float64
}

// leaving are the pairs by their end.
type leaving []pair

func (l leaving) Len() int           { return len(l) }
func (l leaving) Less(i, j int) bool { return l[i].ends < l[j].ends }
func (l leaving) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *leaving) Push(p any)        { *l = append(*l, p.(pair)) }
func (l *leaving) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}

// people draws one of n by rank.
func people(n int, skew float64) func(*rand.Rand) int {
	sum := make([]float64, n)
	total := 0.0
	for i := range n {
		total += math.Pow(float64(i+1), -skew)
		sum[i] = total
	}
	return func(r *rand.Rand) int {
		i, _ := slices.BinarySearch(sum, r.Float64()*total)
		return min(i, n-1)
	}
}

// pool is what places pairs on numbers.
type pool interface {
	// take gives the pair a number, false if none can carry it.
	take(p pair) (number int, ok bool)
	leave(p pair)
}

// outcome is what became of a load.
type outcome struct {
	refused      int
	mostA, mostB int   // sessions of any one A, and of any one B, at once
	peak         int   // sessions at once
	numbers      []int // in the order in which they were given
}

// least is how many numbers no choice whatever can do without: whoever is in so many
// sessions meets each on another one.
func (o outcome) least() int { return max(o.mostA, o.mostB) }

// enough is how many numbers no choice whatever can be short of: each other session
// of the A and of the B closes at most one number to them.
func (o outcome) enough() int { return o.mostA + o.mostB - 1 }

// run plays the load. The people and their times are the same whatever the pool.
func (l load) run(p pool) outcome {
	r := rand.New(rand.NewPCG(l.seed, 1))
	drawA, drawB := people(l.as, l.skewA), people(l.bs, l.skewB)
	var o outcome
	var up leaving
	degA, degB, met := make([]int, l.as), make([]int, l.bs), map[[2]int]bool{}
	now := 0.0
	for range l.arrivals {
		now += r.ExpFloat64() / float64(l.active)
		n := pair{a: drawA(r), b: drawB(r), ends: now + r.ExpFloat64()}
		for len(up) > 0 && up[0].ends <= now {
			gone := heap.Pop(&up).(pair)
			degA[gone.a]--
			degB[gone.b]--
			delete(met, [2]int{gone.a, gone.b})
			if gone.number >= 0 {
				p.leave(gone)
			}
		}
		if met[[2]int{n.a, n.b}] {
			continue // they have a session already
		}
		met[[2]int{n.a, n.b}] = true
		degA[n.a]++
		degB[n.b]++
		o.mostA, o.mostB = max(o.mostA, degA[n.a]), max(o.mostB, degB[n.b])
		var ok bool
		if n.number, ok = p.take(n); !ok {
			o.refused++
			n.number = -1
		}
		o.numbers = append(o.numbers, n.number)
		heap.Push(&up, n)
		o.peak = max(o.peak, len(up))
	}
	return o
}

// needed is the smallest pool, ordered by the policy, that refuses nobody.
func (l load) needed(order policy) (numbers int, o outcome) {
	o = l.run(newShared(l.arrivals, order))
	for n := o.least(); ; n++ {
		if got := l.run(newShared(n, order)); got.refused == 0 {
			return n, got
		}
	}
}

// policy says which of two numbers that can carry a pair is taken.
type policy func(x, y *number) bool

// number is a shared virtual number.
type number struct {
	index  int
	load   int
	rested int // when it last gained or lost a session
	a, b   map[int]bool
}

// The policies. leastLoaded is the one of the product (masking.Rank).
func leastLoaded(x, y *number) bool {
	if x.load != y.load {
		return x.load < y.load
	}
	if x.rested != y.rested {
		return x.rested < y.rested
	}
	return x.index < y.index
}

func firstFit(x, y *number) bool { return x.index < y.index }

func mostLoaded(x, y *number) bool {
	if x.load != y.load {
		return x.load > y.load
	}
	return x.index < y.index
}

// shared is a pool of shared numbers as the rules of the product have it: nobody
// stands in two sessions on one number.
type shared struct {
	numbers []*number
	better  policy
	clock   int
}

func newShared(n int, better policy) *shared {
	s := &shared{better: better}
	for i := range n {
		s.numbers = append(s.numbers, &number{index: i, a: map[int]bool{}, b: map[int]bool{}})
	}
	return s
}

func (s *shared) take(p pair) (int, bool) {
	var best *number
	for _, n := range s.numbers {
		if !n.a[p.a] && !n.b[p.b] && (best == nil || s.better(n, best)) {
			best = n
		}
	}
	if best == nil {
		return 0, false
	}
	s.clock++
	best.load, best.rested = best.load+1, s.clock
	best.a[p.a], best.b[p.b] = true, true
	return best.index, true
}

func (s *shared) leave(p pair) {
	n := s.numbers[p.number]
	s.clock++
	n.load, n.rested = n.load-1, s.clock
	delete(n.a, p.a)
	delete(n.b, p.b)
}

// loads are those of the table.
func loads() []load {
	return []load{
		{"couriers: 200 A meet 5000 B", 200, 5000, 0.8, 0.3, 1000, 6_000, 1},
		{"a market: 300 A and 300 B, alike", 300, 300, 0, 0, 2000, 6_000, 2},
		{"a few shops: 20 A meet everybody", 20, 10_000, 1, 0, 800, 6_000, 3},
		{"both sides have stars", 500, 500, 1, 1, 600, 6_000, 4},
		{"support: 10 A, 10 B, all at once", 10, 10, 0, 0, 60, 6_000, 5},
	}
}

// line is a row of the table.
func (l load) line() string {
	n, o := l.needed(leastLoaded)
	first, _ := l.needed(firstFit)
	most, _ := l.needed(mostLoaded)
	return fmt.Sprintf("| %s | %d | %d + %d | %d | **%d** | %.2f | %d | %d | %d |", l.name, o.peak, o.mostA, o.mostB, o.least(), n,
		float64(n)/float64(o.least()), o.enough(), first, most)
}
