package sqlite

import (
	"context"
	"fmt"
	"sync"
)

// readers lends connections for reading, the one last used first: its page
// cache is the warmest.
type readers struct {
	places chan struct{} // one for each free connection
	mu     sync.Mutex
	free   []*session // guarded by mu; as long as there are places
}

func newReaders(n int) *readers {
	return &readers{places: make(chan struct{}, n), free: make([]*session, 0, n)}
}

// put gives a connection back, or a new one in.
func (p *readers) put(s *session) {
	p.mu.Lock()
	p.free = append(p.free, s)
	p.mu.Unlock()
	p.places <- struct{}{}
}

// take waits for a free connection until ctx ends or closing is closed.
func (p *readers) take(ctx context.Context, closing <-chan struct{}) (*session, error) {
	select {
	case <-closing:
		return nil, ErrClosed
	default:
	}
	select {
	case <-p.places:
	case <-closing:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("sqlite: wait for a reader: %w", ctx.Err())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	s := p.free[last]
	p.free = p.free[:last]
	return s, nil
}

// drain waits until every connection has been given back.
func (p *readers) drain() {
	for range cap(p.places) {
		<-p.places // a View gives its reader back whatever happens in it
	}
}
