package main

import (
	"container/heap"
	"math"
	"math/rand/v2"
)

// site is who uses the service: tenants of very different size.
type site struct {
	tenants int
	skew    float64 // how the size of tenants falls with their rank: rank^-skew
	hot     float64 // the share of the first, if it is not what skew says
	numbers int     // of all pools together
	creates int
	calls   float64 // of one allocation, on average
	seed    uint64
}

// everyday is the load of the tables: the largest tenant has an eighth of it.
func everyday() site {
	return site{tenants: 2000, skew: 1, numbers: 40_000, creates: 15_000, calls: 4, seed: 1}
}

// shares are the tenants' parts of the load.
func (s site) shares() []float64 {
	out := make([]float64, s.tenants)
	sum := 0.0
	for i := range out {
		out[i] = math.Pow(float64(i+1), -s.skew)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
		if s.hot > 0 && i > 0 {
			out[i] *= (1 - s.hot) / (1 - math.Pow(1, -s.skew)/sum)
		}
	}
	if s.hot > 0 {
		out[0] = s.hot
	}
	return out
}

// number is a virtual number of a tenant's pool.
type number struct{ tenant, index int }

// An operation is what a client, a caller or the clock asks for.
type operation int

const (
	create    operation = iota // the client names the number
	automatic                  // the least loaded number of the pool is taken
	route                      // one call's read
	end                        // by identifier, or by the clock
	list                       // a page of a tenant's allocations or events
	operations
)

// watcher sees each operation: on which number, by the id of the allocation.
type watcher func(op operation, n number, id int)

// live is an allocation until its end.
type live struct {
	ends float64
	n    number
	id   int
}

type byEnd []live

func (l byEnd) Len() int           { return len(l) }
func (l byEnd) Less(i, j int) bool { return l[i].ends < l[j].ends }
func (l byEnd) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *byEnd) Push(p any)        { *l = append(*l, p.(live)) }
func (l *byEnd) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}

// play plays allocations that come, are called through and go. Half of the creates name
// their number; a tenant looks at a list now and then.
func (s site) play(see watcher) {
	r := rand.New(rand.NewPCG(s.seed, 7))
	shares := s.shares()
	ladder := make([]float64, len(shares))
	sum := 0.0
	for i, share := range shares {
		sum += share
		ladder[i] = sum
	}
	var up byEnd
	now := 0.0
	for i := range s.creates {
		now += r.ExpFloat64()
		for len(up) > 0 && up[0].ends <= now {
			gone := heap.Pop(&up).(live)
			see(end, gone.n, gone.id)
		}
		t := pick(ladder, r.Float64()*sum)
		n := number{t, r.IntN(s.pool(shares[t]))}
		see([]operation{create, automatic}[r.IntN(2)], n, i)
		for range int(r.ExpFloat64() * s.calls) {
			see(route, n, i)
		}
		if i%20 == 0 {
			see(list, n, i)
		}
		heap.Push(&up, live{now + r.ExpFloat64()*5000, n, i})
	}
}

// pool is how many numbers a tenant of a share has.
func (s site) pool(share float64) int { return max(2, int(share*float64(s.numbers))) }

// pick is the first step of a ladder that reaches x.
func pick(ladder []float64, x float64) int {
	lo, hi := 0, len(ladder)-1
	for lo < hi {
		if mid := (lo + hi) / 2; ladder[mid] < x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
