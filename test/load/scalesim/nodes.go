package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tandem/internal/masking"
)

// watching is who looks at whom.
type watching struct {
	name string
	// sees are the nodes that a node reads, of n.
	sees func(self, n int) []int
}

// watchings are how it is, and a way for many: the nodes in a ring by their identifiers.
func watchings() []watching {
	return []watching{
		{"each looks at all, as it is", func(_, n int) []int {
			all := make([]int, n)
			for i := range all {
				all[i] = i
			}
			return all
		}},
		{"each looks at the 16 behind it", func(self, n int) []int {
			var some []int
			for i := range min(16, n-1) {
				some = append(some, (self+1+i)%n)
			}
			return some
		}},
	}
}

// observers is how many nodes are played: all do the same.
const observers = 2

// lookEvery is how often a node looks at others, as in package app.
const lookEvery = 500 * time.Millisecond

// cost is what watching comes to.
type cost struct {
	queries, rows, writes float64       // a second, of all nodes together
	seen                  time.Duration // from a node's last sign of life until the first who looks takes it for dead
}

// play lets n nodes live for half a minute, of which one dies after ten seconds. Who
// looks judges by the product's own rule.
func (w watching) play(n int) cost {
	const half = 30 * time.Second
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	watchers := min(observers, n-1)
	dead := watchers // the next one behind those that are played
	last := make([]time.Time, n)
	looks := make([]masking.Lookout, watchers)
	rows, queries := 0, 0
	var seen time.Duration
	for at := time.Duration(0); at < half; at += lookEvery {
		now := begin.Add(at)
		if at%masking.Heartbeat == 0 {
			for i := range last {
				if i != dead || at < 10*time.Second {
					last[i] = now
				}
			}
		}
		for self := range watchers {
			var nodes []masking.Node
			for _, i := range w.sees(self, n) {
				nodes = append(nodes, masking.Node{ID: strconv.Itoa(i), StartedAt: begin, SeenAt: last[i]})
			}
			queries++
			rows += len(nodes)
			var lost []masking.Node
			looks[self], _, lost = looks[self].Look(strconv.Itoa(self), nodes, now)
			for _, l := range lost {
				if l.ID == strconv.Itoa(dead) && seen == 0 {
					seen = now.Sub(last[dead])
				}
			}
		}
	}
	scale := float64(n) / float64(watchers) / half.Seconds()
	return cost{float64(queries) * scale, float64(rows) * scale, float64(n) / masking.Heartbeat.Seconds(), seen}
}

func nodesTable() string {
	var b strings.Builder
	b.WriteString("| nodes | who looks at whom | signs of life a second | looks a second | rows read a second | a death is seen after |\n|---|---|---|---|---|---|\n")
	for _, w := range watchings() {
		for _, n := range []int{3, 30, 100, 300, 1000, 3000} {
			c := w.play(n)
			fmt.Fprintf(&b, "| %d | %s | %.0f | %.0f | %.0f | %.1f s |\n", n, w.name, c.writes, c.queries, c.rows, c.seen.Seconds())
		}
	}
	return b.String()
}
