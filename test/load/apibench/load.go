package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// target is a server and what to ask it for.
type target struct{ addr, credentials, id string }

// serial numbers the parties of all creates of this process.
var serial atomic.Int64

// load sends requests over so many connections, each after the answer to the
// one before and no faster than rate a second in all (0: as fast as it goes),
// and gives how many were answered well.
func load(ctx context.Context, t target, work string, length time.Duration, clients, rate int) (int64, error) {
	var pace time.Duration
	if rate > 0 {
		pace = time.Duration(clients) * time.Second / time.Duration(rate)
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var total atomic.Int64
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			n, err := connection(ctx, t, work, pace, pace*time.Duration(i)/time.Duration(clients))
			total.Add(n)
			errs[i] = err
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return total.Load(), nil
}

func connection(ctx context.Context, t target, work string, pace, offset time.Duration) (n int64, err error) {
	conn, err := net.Dial("tcp", t.addr)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }() // everything was read
	in := bufio.NewReader(conn)
	want := "HTTP/1.1 200"
	get := []byte(fmt.Sprintf("GET /v1/tenants/bench/greenvn/%s HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic %s\r\n\r\n", t.id, t.credentials))
	request := func() []byte { return get }
	if work == "create" {
		want = "HTTP/1.1 201"
		request = func() []byte { return create(t) }
	}
	next := time.Now().Add(offset)
	for ; wait(ctx, next); next = next.Add(pace) {
		if _, err := conn.Write(request()); err != nil {
			return n, err
		}
		if err := answer(in, want); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// wait waits for a time, which may have passed, and tells whether to go on.
func wait(ctx context.Context, until time.Time) bool {
	if d := time.Until(until); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

func create(t target) []byte {
	i := serial.Add(2)
	body := fmt.Sprintf(`{"caller_id_number":"+914000000001","from":["+9190%010d"],"to":["+9190%010d"],"duration":86400,"record":true,"custom_field":"order_id=ORD-20240615"}`, i, i+1)
	return []byte(fmt.Sprintf("POST /v1/tenants/bench/greenvn HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", t.credentials, len(body), body))
}

// answer reads one response. Both servers send a Content-Length.
func answer(in *bufio.Reader, want string) error {
	status, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	length := -1
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
		if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("an answer without Content-Length: %s", status)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	if !strings.HasPrefix(status, want) {
		return fmt.Errorf("%s: %s", strings.TrimSpace(status), body)
	}
	return nil
}
