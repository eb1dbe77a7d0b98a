package postgres

import (
	"context"
	"net"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// lines are the connections to the server that a store has open, so that all can be cut
// at once: a server that is silent holds each of them, and what closes it, for long.
type lines struct {
	dial pgconn.DialFunc

	mu   sync.Mutex
	open map[*line]struct{}
	cut  bool
}

// line is one of them.
type line struct {
	net.Conn
	of *lines
}

// Close closes the connection.
func (l *line) Close() error {
	l.of.mu.Lock()
	delete(l.of.open, l)
	l.of.mu.Unlock()
	return l.Conn.Close()
}

// watched dials as dial does, and keeps an eye on the connections.
func watched(dial pgconn.DialFunc) *lines {
	return &lines{dial: dial, open: map[*line]struct{}{}}
}

func (l *lines) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := l.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	one := &line{conn, l}
	l.open[one] = struct{}{}
	return one, nil
}

// cutAll closes what is open, and lets nobody connect any more.
func (l *lines) cutAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for one := range l.open {
		_ = one.Conn.Close()
	}
}
