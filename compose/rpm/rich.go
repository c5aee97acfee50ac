package rpm

import (
	"fmt"
	"strings"
)

// RichOp is the operator of a rich dependency.
type RichOp string

// The operators of rich dependencies.
const (
	And     RichOp = "and"
	Or      RichOp = "or"
	If      RichOp = "if"
	Unless  RichOp = "unless"
	With    RichOp = "with"
	Without RichOp = "without"
)

// Rich is a boolean expression over dependencies. And, Or and With take two or
// more arguments; Without takes two; If and Unless take the dependency, the
// condition and, with "else", a third.
type Rich struct {
	Op   RichOp
	Args []Dep
}

// maxRichDepth bounds the recursion that a hostile package can ask for.
const maxRichDepth = 64

// ParseDep reads a dependency as written in a spec file or a treefile: a name,
// a name with a comparison, or a rich dependency in parentheses.
func ParseDep(s string) (Dep, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "(") {
		return parseRichDep(s)
	}
	p := richParser{s: s}
	d, err := p.simple(false)
	if err != nil {
		return Dep{}, fmt.Errorf("parsing dependency %q: %w", s, err)
	}
	if p.space(); p.pos != len(p.s) {
		return Dep{}, fmt.Errorf("parsing dependency %q: unexpected %q", s, p.s[p.pos:])
	}
	return d, nil
}

func parseRichDep(s string) (Dep, error) {
	p := richParser{s: s}
	d, err := p.group(0)
	if err == nil {
		if p.space(); p.pos != len(p.s) {
			err = fmt.Errorf("unexpected %q after the last parenthesis", p.s[p.pos:])
		}
	}
	if err != nil {
		return Dep{}, fmt.Errorf("parsing rich dependency %q: %w", s, err)
	}
	return d, nil
}

type richParser struct {
	s   string
	pos int
}

func (p *richParser) space() {
	for p.pos < len(p.s) && (p.s[p.pos] == ' ' || p.s[p.pos] == '\t' || p.s[p.pos] == ',') {
		p.pos++
	}
}

// word takes everything up to a blank or, inside a rich dependency, up to the
// parenthesis that closes the group: names like "perl(Foo)" hold balanced ones.
func (p *richParser) word(inRich bool) string {
	p.space()
	start, depth := p.pos, 0
	for p.pos < len(p.s) {
		c := p.s[p.pos]
		if c == ' ' || c == '\t' || c == ',' {
			break
		}
		if c == '(' {
			depth++
		} else if c == ')' {
			if depth == 0 && inRich {
				break
			}
			depth--
		}
		p.pos++
	}
	return p.s[start:p.pos]
}

func (p *richParser) peek(inRich bool) string {
	save := p.pos
	w := p.word(inRich)
	p.pos = save
	return w
}

var operators = map[string]Sense{
	"<": Less, "<=": Less | Equal, "=<": Less | Equal, "=": Equal, "==": Equal,
	">": Greater, ">=": Greater | Equal, "=>": Greater | Equal,
}

func (p *richParser) simple(inRich bool) (Dep, error) {
	name := p.word(inRich)
	if name == "" {
		return Dep{}, fmt.Errorf("a name is missing at position %d", p.pos)
	}
	if _, isOp := operators[name]; isOp {
		return Dep{}, fmt.Errorf("a name is missing before %q", name)
	}
	d := Dep{Name: name}
	flags, ok := operators[p.peek(inRich)]
	if !ok {
		return d, nil
	}
	p.word(inRich)
	version := p.word(inRich)
	if version == "" {
		return Dep{}, fmt.Errorf("a version is missing after %q", name)
	}
	d.Flags, d.EVR = flags, ParseEVR(version)
	return d, nil
}

func (p *richParser) operand(depth int) (Dep, error) {
	p.space()
	if p.pos < len(p.s) && p.s[p.pos] == '(' {
		return p.group(depth)
	}
	return p.simple(true)
}

func (p *richParser) group(depth int) (Dep, error) {
	if depth >= maxRichDepth {
		return Dep{}, fmt.Errorf("nested deeper than %d", maxRichDepth)
	}
	start := p.pos
	p.pos++ // the parenthesis
	first, err := p.operand(depth + 1)
	if err != nil {
		return Dep{}, err
	}
	r := &Rich{Args: []Dep{first}}
	hadElse := false
	for {
		p.space()
		if p.pos >= len(p.s) {
			return Dep{}, fmt.Errorf("a closing parenthesis is missing")
		}
		if p.s[p.pos] == ')' {
			p.pos++
			break
		}
		op := p.word(true)
		if err := r.chain(op, &hadElse); err != nil {
			return Dep{}, err
		}
		arg, err := p.operand(depth + 1)
		if err != nil {
			return Dep{}, err
		}
		r.Args = append(r.Args, arg)
	}
	if r.Op == "" {
		return first, nil // "(foo)" is foo
	}
	return Dep{Name: p.s[start:p.pos], Rich: r}, nil
}

// chain accepts the operator before the next argument: one kind a group, and
// "else" once after "if" or "unless".
func (r *Rich) chain(op string, hadElse *bool) error {
	switch o := RichOp(op); o {
	case And, Or, With:
		if r.Op == "" || r.Op == o {
			r.Op = o
			return nil
		}
	case If, Unless, Without:
		if r.Op == "" {
			r.Op = o
			return nil
		}
	default:
		if op != "else" {
			return fmt.Errorf("unknown operator %q", op)
		}
		if (r.Op == If || r.Op == Unless) && len(r.Args) == 2 && !*hadElse {
			*hadElse = true
			return nil
		}
		return fmt.Errorf("\"else\" without \"if\" or \"unless\"")
	}
	return fmt.Errorf("cannot chain %q after %q without parentheses", op, r.Op)
}
