package testkit

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
)

// Logs is a slog handler that keeps every line, debug level included, for a look at
// the end of a test. It may be used from many goroutines.
type Logs struct {
	slog.Handler // writes JSON to kept
	kept         *kept
}

type kept struct {
	mu    sync.Mutex
	lines [][]byte
}

// Write keeps one line; slog hands over whole lines.
func (k *kept) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lines = append(k.lines, bytes.Clone(line))
	return len(line), nil
}

// NewLogs returns a handler that has seen nothing yet.
func NewLogs() *Logs {
	k := &kept{}
	return &Logs{slog.NewJSONHandler(k, &slog.HandlerOptions{Level: slog.LevelDebug}), k}
}

// Logger returns a logger that writes here.
func (l *Logs) Logger() *slog.Logger { return slog.New(l) }

// Enabled is true for every level.
func (l *Logs) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs and WithGroup return handlers that keep their lines in the same place.
func (l *Logs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Logs{l.Handler.WithAttrs(attrs), l.kept}
}

// WithGroup is described at WithAttrs.
func (l *Logs) WithGroup(name string) slog.Handler { return &Logs{l.Handler.WithGroup(name), l.kept} }

// Lines gives what has been logged so far, each line as JSON.
func (l *Logs) Lines() [][]byte {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	return slices.Clone(l.kept.lines)
}

// AssertNoLeak fails the test for each number found in a line.
func (l *Logs) AssertNoLeak(t testing.TB, d *LeakDetector) {
	t.Helper()
	AssertNoLeak(t, d, "log", l.Lines()...)
}
