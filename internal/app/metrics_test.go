package app

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/internal/testkit"
	"tandem/internal/voice/hep"
)

// lister takes note of what is registered.
type lister struct{ rows []string }

func (l *lister) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 64)
	c.Describe(descs)
	close(descs)
	for d := range descs {
		l.rows = append(l.rows, row(c, d))
	}
	return nil
}

func (l *lister) MustRegister(list ...prometheus.Collector) {
	for _, c := range list {
		_ = l.Register(c)
	}
}

func (l *lister) Unregister(prometheus.Collector) bool { return false }

var described = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*?)"(?:, unit: ".*?")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

func row(c prometheus.Collector, d *prometheus.Desc) string {
	m := described.FindStringSubmatch(d.String())
	if m == nil {
		return "unreadable: " + d.String()
	}
	kind, labels := "gauge", m[4]
	switch c.(type) {
	case *prometheus.HistogramVec, prometheus.Histogram:
		kind = "histogram"
	default:
		if strings.HasSuffix(m[1], "_total") {
			kind = "counter"
		}
	}
	for pair := range strings.SplitSeq(m[3], ",") {
		if name, _, ok := strings.Cut(pair, "="); ok {
			labels += "," + name
		}
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |", m[1], kind, strings.ReplaceAll(strings.Trim(labels, ","), ",", ", "), m[2])
}

// docs/metrics.md is written by this test with -update.
func TestEveryMetricIsInTheManual(t *testing.T) {
	var l lister
	newMetrics(&l)
	(&App{export: &hep.Exporter{}}).register(&l)
	l.MustRegister(trunkMetrics{})
	slices.Sort(l.rows)
	rows := slices.Compact(l.rows) // one of each name: labels are constant in some
	testkit.AssertGolden(t, "docs/metrics.md", []byte(metricsHead+strings.Join(rows, "\n")+"\n"))
	for _, r := range rows {
		if !strings.HasPrefix(r, "| `tandem_") || strings.HasSuffix(r, "|  |") {
			t.Errorf("%s", r)
		}
	}
}

const metricsHead = `# Metrics

What ` + "`/metrics`" + ` of the ops address tells in the form of Prometheus, besides the ` + "`go_`" + ` and ` + "`process_`" + ` families. Labels have
values of closed lists: causes and reasons are those of [troubleshooting.md](troubleshooting.md), an outcome is ` + "`answered`" + ` or a
cause (of an endpoint: one of [webhooks.md](webhooks.md)), methods and classes those of SIP, operations those of the API, trunks and targets those that are configured, as
they are written. No label holds a number, or anything that a caller or DNS chooses. (Written by a test: go test ./internal/app -run Manual -update.)

| metric | kind | labels | |
|---|---|---|---|
`
