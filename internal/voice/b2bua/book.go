package b2bua

import (
	"maps"
	"slices"
	"sync"

	"tandem/internal/masking"
)

// book holds the calls that are up, and whose they are.
type book struct {
	wg      sync.WaitGroup // of the calls
	mu      sync.Mutex
	closing bool // no new calls
	calls   map[*call]struct{}
	of      map[masking.AllocationID]map[*call]struct{}
	// routing are the calls for which the store is read, to know whose they are, each
	// with the allocations that have ended since: what was read may be older.
	routing map[*call]map[masking.AllocationID]struct{}
	// hunting are the calls that ring somebody whom they may meet, by the allocation,
	// in the order in which they began to.
	hunting map[masking.AllocationID][]*call
}

func newBook() *book {
	return &book{calls: map[*call]struct{}{}, of: map[masking.AllocationID]map[*call]struct{}{},
		routing: map[*call]map[masking.AllocationID]struct{}{}, hunting: map[masking.AllocationID][]*call{}}
}

// enter takes a call in, unless no new ones are taken.
func (b *book) enter(c *call) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return false
	}
	b.wg.Add(1)
	b.calls[c] = struct{}{}
	b.routing[c] = map[masking.AllocationID]struct{}{}
	return true
}

// routed says whose call c is, "" for nobody's, and tells whether that
// allocation has ended while the call was routed.
func (b *book) routed(c *call, id masking.AllocationID) (over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, over = b.routing[c][id]
	delete(b.routing, c)
	if id == "" {
		return over
	}
	if b.of[id] == nil {
		b.of[id] = map[*call]struct{}{}
	}
	b.of[id][c] = struct{}{}
	return over
}

// rests says that what was read for c says nothing of whose it is: a caller who is
// asked for a PIN takes his time, and allocations end all the while.
func (b *book) rests(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.routing, c)
}

// routes says that the store is read for c again.
func (b *book) routes(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.routing[c] = map[masking.AllocationID]struct{}{}
}

// leave strikes a call out that has entered.
func (b *book) leave(c *call) {
	defer b.wg.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.calls, c)
	delete(b.routing, c)
	b.strike(c)
	id := c.plan.Allocation.ID
	if delete(b.of[id], c); len(b.of[id]) == 0 {
		delete(b.of, id)
	}
}

// meet gives a call that rings somebody who calls, and whose caller is one of
// those whom he calls: both of one allocation. Of several it is the call of whom
// he would ring first. If there is none, c is one that rings from now on: of two
// that meet, one finds the other.
func (b *book) meet(c *call) (other *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, best := c.plan.Allocation.ID, len(c.plan.Targets)
	for _, o := range b.hunting[id] {
		at := slices.Index(c.plan.Targets, o.plan.Caller)
		if at >= 0 && at < best && slices.Contains(o.plan.Targets, c.plan.Caller) {
			other, best = o, at
		}
	}
	if other == nil {
		b.hunt(c)
	}
	return other
}

// hunts says that c rings somebody, whoever calls at the same time.
func (b *book) hunts(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hunt(c)
}

// hunt is hunts with mu held. A call that is nobody's meets nobody.
func (b *book) hunt(c *call) {
	if id := c.plan.Allocation.ID; id != "" {
		b.hunting[id] = append(b.hunting[id], c)
	}
}

// settled says that c rings nobody any more.
func (b *book) settled(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strike(c)
}

// strike takes c off the calls that ring somebody. The caller holds mu.
func (b *book) strike(c *call) {
	id := c.plan.Allocation.ID
	rest := slices.DeleteFunc(b.hunting[id], func(o *call) bool { return o == c })
	if b.hunting[id] = rest; len(rest) == 0 {
		delete(b.hunting, id)
	}
}

// ended notes the end of an allocation and gives its calls.
func (b *book) ended(id masking.AllocationID) []*call {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, gone := range b.routing {
		gone[id] = struct{}{}
	}
	return slices.Collect(maps.Keys(b.of[id]))
}

// close takes no more calls in.
func (b *book) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closing = true
}

func (b *book) closed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closing
}

func (b *book) all() []*call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.calls))
}

func (b *book) live() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}
