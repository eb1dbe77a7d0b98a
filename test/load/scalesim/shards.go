package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// slots is in how many pieces all keys are divided; a shard has some of them. Which has
// which stands in a table of this size, so what moves is chosen, slot by slot.
const slots = 4096

func hash(of ...int) uint64 {
	h := fnv.New64a()
	for _, v := range of {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(v))) // never fails
	}
	x := h.Sum64() // FNV's last bytes hardly reach its upper bits: mixed as in MurmurHash3
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// A division says by what rows are put on shards.
type division struct {
	name string
	// cells is in how many parts a tenant's numbers are, at most; nil puts each row by its
	// own primary key.
	cells func(share float64, shards int) int
}

// scattered is that many parts that each number is one.
const scattered = 1 << 30

// divisions are those that are compared.
func divisions() []division {
	return []division{
		{"each row by its own key, as an engine does unasked", nil},
		{"by tenant", func(float64, int) int { return 1 }},
		{"by virtual number", func(float64, int) int { return scattered }},
		{"by cell: a tenant's numbers in parts", func(share float64, shards int) int { return max(1, int(share*float64(shards)*8)) }},
	}
}

// cell is the part of a tenant's numbers that a number is in.
func (d division) cell(n number, share float64, shards int) int {
	return int(hash(n.tenant, n.index) % uint64(d.cells(share, shards)))
}

// places is which shards a load touches.
type places struct {
	d      division
	s      site
	shares []float64
	shards int
	of     []int           // the shard of each slot
	pools  map[int][]int   // of tenants: the shards of all their numbers
	load   []int           // of each shard: operations
	count  [operations]int // operations
	cross  [operations]int // of them on more than one shard
	asked  [operations]int // shards that they touch, together
}

func newPlaces(d division, s site, shards int) *places {
	p := &places{d: d, s: s, shares: s.shares(), shards: shards, pools: map[int][]int{}, load: make([]int, shards)}
	for i := range slots {
		p.of = append(p.of, i%shards)
	}
	return p
}

// shard is where all of a number is: its row, claims, allocations, calls and events.
func (p *places) shard(n number) int {
	return p.of[hash(n.tenant, 1+p.d.cell(n, p.shares[n.tenant], p.shards))%slots]
}

// pool are the shards of all numbers of a tenant.
func (p *places) pool(tenant int) []int {
	if found, ok := p.pools[tenant]; ok {
		return found
	}
	var all []int
	for i := range p.s.pool(p.shares[tenant]) {
		all = append(all, p.shard(number{tenant, i}))
	}
	slices.Sort(all)
	all = slices.Compact(all)
	p.pools[tenant] = all
	return all
}

// A row is what an operation touches: its table, and its primary key.
type row struct{ table, key int }

// rows are those of an operation: of tables claim, number, allocation, party and event. A
// claim's key begins with its virtual number, so its claims are together.
func rows(op operation, n number, id int) []row {
	vn := int(hash(n.tenant, n.index) >> 1)
	found := []row{{0, vn}, {1, vn}, {2, id}}
	switch op {
	case route:
	case list: // a page, by an index of the tenant
		found = []row{{5, n.tenant}}
		for i := range 100 {
			found = append(found, row{2, int(hash(n.tenant, id, i) >> 1)})
		}
	default:
		found = append(found, row{3, 2 * id}, row{3, 2*id + 1}, row{4, int(hash(id, int(op)) >> 1)})
	}
	return found
}

// touched are the shards of an operation.
//
// Where rows are put by their tenant or virtual number, all of an operation's are with
// the number: each has both in it, and an identifier tells its cell. The automatic choice
// asks the whole pool for its least loaded number; where a tenant has cells it takes one
// and asks that. A list is of all that the tenant has.
func (p *places) touched(op operation, n number, id int) (at []int) {
	switch {
	case p.d.cells == nil:
		for _, r := range rows(op, n, id) {
			at = append(at, p.of[hash(r.table, r.key)%slots])
		}
	case op == list, op == automatic && p.d.cells(1, p.shards) == scattered:
		return p.pool(n.tenant)
	default:
		for range rows(op, n, id) {
			at = append(at, p.shard(n))
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

func (p *places) see(op operation, n number, id int) {
	at := p.touched(op, n, id)
	p.count[op]++
	p.asked[op] += len(at)
	if len(at) > 1 {
		p.cross[op]++
	}
	for _, shard := range at {
		p.load[shard]++
	}
}

// uneven is the busiest shard's load over the mean.
func (p *places) uneven() float64 {
	sum := 0
	for _, n := range p.load {
		sum += n
	}
	return float64(slices.Max(p.load)) * float64(len(p.load)) / float64(sum)
}

// claims are the operations on claims, and how many of them cross.
func (p *places) claims() (count, cross int) {
	for _, op := range []operation{create, route, end} {
		count += p.count[op]
		cross += p.cross[op]
	}
	return count, cross
}

func (p *places) mean(op operation) float64 { return float64(p.asked[op]) / float64(p.count[op]) }

func played(d division, s site, shards int) *places {
	p := newPlaces(d, s, shards)
	s.play(p.see)
	return p
}

func dividedTable() string {
	var b strings.Builder
	b.WriteString("| divided | creates, calls and ends that cross shards | shards that an automatic create asks | shards of a list | busiest shard, of the mean |\n|---|---|---|---|---|\n")
	for _, d := range divisions() {
		p := played(d, everyday(), 64)
		count, cross := p.claims()
		fmt.Fprintf(&b, "| %s | %.1f %% | %.1f | %.1f | %.2f |\n", d.name, 100*float64(cross)/float64(count), p.mean(automatic), p.mean(list), p.uneven())
	}
	return b.String()
}

func hotTable() string {
	var b strings.Builder
	b.WriteString("| cells | busiest shard, of the mean | shards of his lists |\n|---|---|---|\n")
	for _, cells := range []int{1, 4, 16, 64, 256, 1024} {
		s := everyday()
		s.hot = 0.3
		d := division{"", func(share float64, shards int) int {
			if share == s.hot {
				return cells
			}
			return max(1, int(share*float64(shards)*8))
		}}
		p := played(d, s, 64)
		fmt.Fprintf(&b, "| %d | %.2f | %d |\n", cells, p.uneven(), len(p.pool(0)))
	}
	return b.String()
}

// growthTable counts the keys that change their shard: cells, each with its weight.
func growthTable() string {
	var b strings.Builder
	b.WriteString("| shards | least that must move | moves with slots | moves with the rest of a division (hash mod n) | busiest shard after, of the mean |\n|---|---|---|---|---|\n")
	for _, next := range []int{65, 72, 96, 128} {
		before := newPlaces(divisions()[3], everyday(), 64)
		after := newPlaces(divisions()[3], everyday(), 64)
		after.grow(next)
		moved, modulo, all := 0, 0, 0
		before.s.play(func(op operation, n number, _ int) {
			if op != create && op != automatic {
				return
			}
			all++
			cell := 1 + before.d.cell(n, before.shares[n.tenant], 64)
			if before.shard(n) != after.shard(n) {
				moved++
			}
			if hash(n.tenant, cell)%64 != hash(n.tenant, cell)%uint64(next) {
				modulo++
			}
			after.load[after.shard(n)]++
		})
		percent := func(n int) float64 { return 100 * float64(n) / float64(all) }
		fmt.Fprintf(&b, "| %d | %.1f %% | %.1f %% | %.1f %% | %.2f |\n", next, 100*float64(next-64)/float64(next), percent(moved), percent(modulo), after.uneven())
	}
	return b.String()
}

// grow gives new shards their part of the slots, from each of the old ones.
func (p *places) grow(next int) {
	old := len(p.load)
	p.load = make([]int, next)
	has := make([]int, next)
	for _, shard := range p.of {
		has[shard]++
	}
	to := old
	for i, shard := range p.of {
		for to < next && has[to] >= slots/next {
			to++
		}
		if to == next {
			return
		}
		if has[shard] > slots/next {
			has[shard]--
			has[to]++
			p.of[i] = to
		}
	}
}
