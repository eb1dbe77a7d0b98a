package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem/internal/client"
	"tandem/test/load/proc"
)

const adminToken = "tda_callbench"

// server is the program under test, a process of its own on a new folder.
type server struct {
	cmd *exec.Cmd
	dir string
	api string // base URL
	ops string // host and port
	sip netip.AddrPort
}

// mediaPorts are all that a host can well give. Each call takes four, and they
// rest for 30 s after it: the range bounds the calls of half a minute.
const mediaPorts = "10000-65534"

// startServer starts a server with its default settings, but on free ports of
// loopback, and waits until it is up. It logs to a file.
func startServer(ctx context.Context, o options) (s *server, err error) {
	dir, err := os.MkdirTemp(o.dir, "callbench-")
	if err != nil {
		return nil, err
	}
	s = &server{dir: dir}
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { _ = out.Close() }() // the child has it
	s.cmd = exec.CommandContext(ctx, o.tandem, "serve")
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.Env = append(os.Environ(), "TANDEM_DATA_DIR="+dir, "TANDEM_ADMIN_TOKEN="+adminToken, "TANDEM_HTTP_LISTEN=127.0.0.1:0",
		"TANDEM_OPS_LISTEN=127.0.0.1:0", "TANDEM_SIP_LISTEN=udp://127.0.0.1:0", "TANDEM_MEDIA_PORTS="+mediaPorts, "TANDEM_DRAIN_SECONDS=1")
	start := s.cmd.Start
	if o.pin {
		start = func() error { return proc.StartOn(s.cmd, serverCPU) }
	}
	if err := start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.findAddresses(ctx); err != nil {
		text, _ := os.ReadFile(out.Name())
		return nil, errors.Join(fmt.Errorf("%w; its log: %.1000s", err, text), s.stop())
	}
	return s, nil
}

// findAddresses reads where the server listens; it says so when it is up.
func (s *server) findAddresses(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		b, err := os.ReadFile(filepath.Join(s.dir, "addresses.json"))
		if err == nil {
			var a struct {
				HTTP, Ops string
				SIP       []string
			}
			if err := json.Unmarshal(b, &a); err != nil || len(a.SIP) != 1 {
				return fmt.Errorf("addresses.json is %q", b)
			}
			s.api, s.ops = "http://"+a.HTTP, a.Ops
			s.sip, err = netip.ParseAddrPort(strings.TrimPrefix(a.SIP[0], "udp://"))
			return err
		}
		if until(ctx, time.Now().Add(20*time.Millisecond)) != nil {
			return errors.New("the server did not come up")
		}
	}
}

// stop ends the server and removes its folder.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	err := s.cmd.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// setUp makes over HTTP what an operator and a tenant would: a trunk to the
// callees, a shared number, and an allocation for each pair of parties.
func (s *server) setUp(ctx context.Context, callees netip.AddrPort, pairs int) error {
	operator, err := client.New(client.Options{BaseURL: s.api, AdminToken: adminToken})
	if err != nil {
		return err
	}
	made, err := operator.CreateTenant(ctx, client.NewTenant{TenantID: "bench",
		TenantChange: client.TenantChange{Name: "Bench", RateLimit: &client.RateLimit{PerSecond: 100_000, Burst: 100_000}}})
	if err != nil {
		return err
	}
	if _, err := operator.AddNumbers(ctx, "bench", []client.NewNumber{{Number: virtualNumber, Sharing: "shared"}}); err != nil {
		return err
	}
	tenant, err := client.New(client.Options{BaseURL: s.api, AccountSID: made.AccountSID, Token: made.Token})
	if err != nil {
		return err
	}
	create := func(i int) error {
		_, err := tenant.CreateAllocation(ctx, "bench", client.NewAllocation{CallerIDNumber: virtualNumber,
			From: []string{callerNumber(i)}, To: []string{calleeNumber(i)}})
		return err
	}
	if err := concurrently(pairs, create); err != nil {
		return fmt.Errorf("create allocations: %w", err)
	}
	return s.leadTo(ctx, operator, callees)
}

// concurrently does something n times, so that creates share transactions, and
// gives one worker's error if there is any.
func concurrently(n int, do func(i int) error) error {
	const workers = 16
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for k := range workers {
		wg.Go(func() {
			for i := k; i < n && errs[k] == nil; i += workers {
				errs[k] = do(i)
			}
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// leadTo makes the trunk.
func (s *server) leadTo(ctx context.Context, operator *client.Client, callees netip.AddrPort) error {
	country, format, trust := "IN", "e164", true
	never := int64(0) // asked by OPTIONS: sipp would take it for a call
	_, err := operator.CreateTrunk(ctx, client.NewTrunk{Name: "carrier", TrunkSettings: client.TrunkSettings{
		Sources: []string{"127.0.0.1/32"}, Targets: []string{callees.String()}, Country: &country, NumberFormat: &format,
		TrustIdentity: &trust, OptionsSeconds: &never, CallerIDs: []string{"*"}}})
	return err
}

// gauges are the server's own counts.
type gauges struct{ live, waiting, ended, resent float64 }

// read reads them.
func (s *server) read(ctx context.Context) (g gauges, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.ops+"/metrics", nil)
	if err != nil {
		return g, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return g, err
	}
	defer func() { _ = res.Body.Close() }()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		value, _ := strconv.ParseFloat(text, 64)
		switch name {
		case "tandem_calls_live":
			g.live += value
		case "tandem_journal_waiting":
			g.waiting += value
		case "tandem_calls_ended_total":
			g.ended += value
		case "tandem_sip_retransmissions_out_total":
			g.resent += value
		}
	}
	return g, nil
}

// settle waits until no call is up and all is written.
func (s *server) settle(ctx context.Context) (gauges, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		g, err := s.read(ctx)
		if err != nil || g.live == 0 && g.waiting == 0 {
			return g, err
		}
		if err := until(ctx, time.Now().Add(100*time.Millisecond)); err != nil {
			return g, fmt.Errorf("%.0f calls are up and %.0f entries not written: %w", g.live, g.waiting, err)
		}
	}
}
