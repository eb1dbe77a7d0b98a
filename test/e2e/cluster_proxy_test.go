package e2e

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// cutter is a way to a server that can be cut under those who use it.
type cutter struct {
	listener net.Listener
	to       string
	all      sync.WaitGroup

	mu    sync.Mutex
	shut  bool                  // nobody gets through
	pairs map[net.Conn]net.Conn // who came in → the way on
}

// newCutter listens before a server. It ends with the test.
func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, to: to, pairs: map[net.Conn]net.Conn{}}
	c.all.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.cut(1)
		c.all.Wait()
	})
	return c
}

func (c *cutter) accept() {
	for {
		in, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		on, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		c.mu.Lock()
		shut := c.shut
		if !shut {
			c.pairs[in] = on
		}
		c.mu.Unlock()
		if shut {
			_, _ = in.Close(), on.Close()
			continue
		}
		c.all.Go(func() { c.carry(in, on) })
	}
}

// carry carries both ways until one of them ends.
func (c *cutter) carry(in, on net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, on}, {on, in}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // ends when either is closed
			_, _ = in.Close(), on.Close()
		})
	}
	both.Wait()
	c.mu.Lock()
	delete(c.pairs, in)
	c.mu.Unlock()
}

// close lets nobody through any more, until it is opened.
func (c *cutter) close() {
	c.mu.Lock()
	c.shut = true
	c.mu.Unlock()
	c.cut(1)
}

// open lets everybody through again.
func (c *cutter) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = false
}

// cut resets a share of the connections there are, and tells how many.
func (c *cutter) cut(share float64) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for in, on := range c.pairs {
		if rand.Float64() >= share {
			continue
		}
		n++
		for _, conn := range []net.Conn{in, on} {
			_ = conn.(*net.TCPConn).SetLinger(0) // it may be over already
			_ = conn.Close()
		}
	}
	return n
}
