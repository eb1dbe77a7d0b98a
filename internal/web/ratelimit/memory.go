package ratelimit

import (
	"container/heap"
	"sync"
	"time"
)

// Memory keeps the state of many keys in this process, at most as many as it
// was made for. A key whose limit is full again is worth as much as one never
// seen, so it makes room for a new one. While every key kept has an unpaid
// debt, new keys are refused: whoever floods with ever new keys gets no
// fresh burst by pushing others out, and those that are kept are not harmed.
//
// It may be used from many goroutines.
type Memory[K comparable] struct {
	size int

	mu      sync.Mutex
	entries map[K]*entry[K]
	byFull  queue[K] // the key that is full again first, first
}

type entry[K comparable] struct {
	key   K
	state State
	index int // in byFull
}

// NewMemory makes a Memory for at most size keys; a size below 1 counts as 1.
func NewMemory[K comparable](size int) *Memory[K] {
	return &Memory[K]{size: max(size, 1), entries: map[K]*entry[K]{}}
}

// Take counts one request of key against the limit, as the function Take does.
// The limit of a key may differ from call to call.
func (m *Memory[K]) Take(key K, l Limit, now time.Time) Decision {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, known := m.entries[key]
	if known {
		var d Decision
		e.state, d = Take(e.state, l, now)
		if d.Allowed {
			heap.Fix(&m.byFull, e.index)
		}
		return d
	}
	state, d := Take(State{}, l, now)
	if !d.Allowed {
		return d
	}
	if len(m.entries) >= m.size {
		first := m.byFull[0]
		if wait := first.state.Full.Sub(now); wait > 0 {
			return Decision{RetryAfter: wait, Reset: wait}
		}
		heap.Pop(&m.byFull)
		delete(m.entries, first.key)
	}
	e = &entry[K]{key: key, state: state}
	m.entries[key] = e
	heap.Push(&m.byFull, e)
	return d
}

// Len is how many keys are kept.
func (m *Memory[K]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

// queue is a heap of entries by the time at which they are full again.
type queue[K comparable] []*entry[K]

func (q queue[K]) Len() int           { return len(q) }
func (q queue[K]) Less(i, j int) bool { return q[i].state.Full.Before(q[j].state.Full) }

func (q queue[K]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is called by container/heap only.
func (q *queue[K]) Push(x any) {
	e := x.(*entry[K])
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop is called by container/heap only.
func (q *queue[K]) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil // so that the array does not keep it alive
	*q = old[:len(old)-1]
	return e
}
