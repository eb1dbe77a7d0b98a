package app

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/internal/voice/locate"
	"tandem/internal/voice/sipua"
)

// trunkMetrics tells how the trunks do when it is asked. Its labels are names and
// addresses that the operator has written, and nothing that a network sends.
type trunkMetrics struct{ agent *sipua.Agent }

var (
	trunkUp = prometheus.NewDesc("tandem_trunk_target_up",
		"Whether a target of a trunk is thought to work: 1 until it is known to be down, or if it is a name, until all its addresses are or none is known.",
		[]string{"trunk", "target"}, nil)
	trunkResolved = prometheus.NewDesc("tandem_trunk_target_resolved",
		"Whether DNS has given the servers of a target that is a name when it was asked last.", []string{"trunk", "target"}, nil)
	trunkCalls      = prometheus.NewDesc("tandem_trunk_calls", "Outgoing calls that are up on a trunk.", []string{"trunk"}, nil)
	trunkRegistered = prometheus.NewDesc("tandem_trunk_registered",
		"Whether a trunk that registers is registered.", []string{"trunk"}, nil)
)

// Describe names the metrics.
func (m trunkMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- trunkUp
	to <- trunkResolved
	to <- trunkCalls
	to <- trunkRegistered
}

// Collect reads them.
func (m trunkMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	claim := func(holds bool) float64 {
		if holds {
			return 1
		}
		return 0
	}
	for _, t := range m.agent.Trunks() {
		h := m.agent.TrunkHealth(t.Name)
		gauge(trunkCalls, float64(h.LiveCalls), t.Name)
		up := map[string]bool{} // by what the operator wrote
		for _, target := range h.Targets {
			name := cmp.Or(target.Target, target.Address)
			up[name] = up[name] || target.State != "down"
		}
		for _, n := range h.Names {
			up[n.Target] = up[n.Target] || n.State == string(locate.Pending)
			gauge(trunkResolved, claim(n.State == string(locate.Current)), t.Name, n.Target)
		}
		for name, works := range up {
			gauge(trunkUp, claim(works), t.Name, name)
		}
		if h.Registration != nil {
			gauge(trunkRegistered, claim(h.Registration.State == "registered"), t.Name)
		}
	}
}
