package world

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Sipp is a running sipp.
type Sipp struct {
	cmd  *exec.Cmd
	Addr string // where it listens
	out  string
	Done chan struct{} // closed when it has ended
	err  error         // then
}

// StartSipp starts sipp on a free port of loopback and ends it with the test.
func StartSipp(t testing.TB, network string, args ...string) *Sipp {
	t.Helper()
	dir := t.TempDir()
	port, media := FreePort(t, "127.0.0.1"), FourFreePorts(t)
	transport := map[string]string{"udp": "u1", "tcp": "t1"}[network]
	base := []string{"-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", fmt.Sprint(port), "-mp", strconv.Itoa(media), "-t", transport, "-nostdin",
		"-trace_err", "-error_file", filepath.Join(dir, "errors"), "-max_socket", "2048"}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sipp{Addr: fmt.Sprintf("127.0.0.1:%d", port), out: filepath.Join(dir, "errors"), Done: make(chan struct{})}
	s.cmd = exec.CommandContext(ctx, "sipp", append(base, args...)...)
	s.cmd.Dir = dir
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.Done)
		s.err = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-s.Done
	})
	return s
}

// Wait waits for sipp's end: exit code 0 says that every call went as its
// scenario says, with no unexpected message.
func (s *Sipp) Wait(t testing.TB, most time.Duration) {
	t.Helper()
	select {
	case <-s.Done:
		if s.err != nil {
			errors, _ := os.ReadFile(s.out)
			t.Fatalf("sipp: %v\n%.4000s", s.err, errors)
		}
	case <-time.After(most):
		t.Fatal("sipp did not end")
	}
}

// FreePort finds a port of an address that is free now, both for UDP and TCP.
func FreePort(t testing.TB, ip string) uint16 {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", ip+":0")
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().(*net.TCPAddr).AddrPort()
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return at.Port()
		}
	}
	t.Fatal("no free port")
	return 0
}

// FourFreePorts finds ports in a row that are free now, both for UDP and TCP, and
// gives the first: sipp takes the second next of its media for video, baresip the
// next of its SIP for TLS, and each ends if it cannot. They lie below those that the
// kernel hands out, and above those of baresip's media.
func FourFreePorts(t testing.TB) int {
	t.Helper()
	for range 50 {
		first := 20000 + 4*rand.IntN(1000)
		if isFree(first) && isFree(first+1) && isFree(first+2) && isFree(first+3) {
			return first
		}
	}
	t.Fatal("no four free ports in a row")
	return 0
}

func isFree(port int) bool {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return false
	}
	_ = u.Close()
	return true
}
