package postgres

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// Tunnel leads to a server, as long as it is not told to hold back what both sides say, or
// to lose it.
type Tunnel struct {
	net.Listener
	to      string
	wg      sync.WaitGroup
	mu      sync.Mutex
	carries chan struct{} // closed while it does
	ways    map[*way]bool // those that are open
	left    chan struct{} // closed, and made anew, when one has ended
}

// way is one connection through a tunnel.
type way struct {
	near, far net.Conn
	dead      bool // guarded by Tunnel.mu
}

// NewTunnel makes a tunnel to a port of loopback. It ends with the test, once all have
// left it.
func NewTunnel(t testing.TB, port int) *Tunnel {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Tunnel{Listener: l, to: fmt.Sprintf("127.0.0.1:%d", port), carries: make(chan struct{}), ways: map[*way]bool{}, left: make(chan struct{})}
	close(u.carries)
	u.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			u.wg.Go(func() { u.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // ends Accept
		u.wg.Wait()
	})
	return u
}

// URL is where a database of the server is.
func (u *Tunnel) URL(database string) string {
	return fmt.Sprintf("postgres://tandem@%s/%s?sslmode=disable", u.Addr(), database)
}

func (u *Tunnel) carry(near net.Conn) {
	defer near.Close()
	u.wait()
	far, err := net.Dial("tcp", u.to)
	if err != nil {
		return
	}
	w := &way{near: near, far: far}
	u.mu.Lock()
	u.ways[w] = true
	u.mu.Unlock()
	var answers sync.WaitGroup
	answers.Go(func() { u.copy(w, near, far) })
	u.copy(w, far, near)
	_ = far.Close()
	answers.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.ways, w)
	close(u.left)
	u.left = make(chan struct{})
}

// copy carries one direction. Its end is that of both, unless the way is dead: then
// whoever is near hears of no end, and speaks to nobody until he gives it up.
func (u *Tunnel) copy(w *way, to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		u.wait()
		if err == nil {
			_, err = to.Write(b[:n])
		}
		switch {
		case u.dead(w) && from == w.near:
			_, _ = io.Copy(io.Discard, from)
			return
		case u.dead(w):
			return
		case err != nil:
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

func (u *Tunnel) dead(w *way) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return w.dead
}

func (u *Tunnel) wait() {
	u.mu.Lock()
	carries := u.carries
	u.mu.Unlock()
	<-carries
}

// FallSilent holds everything back until the function that it gives is called.
func (u *Tunnel) FallSilent() (speak func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	carries := make(chan struct{})
	u.carries = carries
	return sync.OnceFunc(func() { close(carries) })
}

// Die is what a host does that loses its power, and whose address another one takes at
// once: whoever is connected hears nothing any more, not even an end, and whoever
// connects from now on is served. It gives how many were connected.
func (u *Tunnel) Die() (connected int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for w := range u.ways {
		w.dead = true
		_ = w.far.Close()
	}
	return len(u.ways)
}

// GivenUp waits until all have left who were connected when the host died.
func (u *Tunnel) GivenUp(t testing.TB) {
	t.Helper()
	for {
		u.mu.Lock()
		left, some := u.left, false
		for w := range u.ways {
			some = some || w.dead
		}
		u.mu.Unlock()
		if !some {
			return
		}
		select {
		case <-left:
		case <-t.Context().Done():
			t.Fatal("somebody still waits for a host that is dead")
		}
	}
}
