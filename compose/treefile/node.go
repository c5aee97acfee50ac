package treefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// node is a value of either form of a treefile with the line it stands on, so
// that messages can name it.
type node struct {
	line  int
	kind  kind
	text  string // of scalars, as written
	list  []node
	pairs []pair
}

type pair struct {
	key   string
	line  int
	value node
}

type kind string

const (
	isString kind = "a string"
	isNumber kind = "a number"
	isBool   kind = "true or false"
	isNull   kind = "null"
	isList   kind = "a list"
	isMap    kind = "a mapping"
)

// maxDepth bounds recursion over hostile input.
const maxDepth = 64

// parseJSON reads the JSON form. Comments (//, /* */ and # to the end of the
// line) are accepted where blanks are.
func parseJSON(data []byte) (node, error) {
	data = blankComments(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	p := jsonParser{d: d, data: data}
	n, err := p.value(0)
	if err == nil {
		if _, e := d.Token(); !errors.Is(e, io.EOF) {
			err = fmt.Errorf("there is more after the end")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends too early")
	}
	if err != nil {
		return node{}, &lineError{p.errorLine(err), err}
	}
	return n, nil
}

type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }

// blankComments replaces comments outside of strings by blanks, keeping lines.
func blankComments(data []byte) []byte {
	out := bytes.Clone(data)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			if out[i] != '\n' {
				out[i] = ' '
			}
		}
	}
	end := func(i int, pat string) int {
		if n := bytes.Index(data[i:], []byte(pat)); n >= 0 {
			return i + n + len(pat)
		}
		return len(data)
	}
	for i := 0; i < len(data); {
		switch {
		case data[i] == '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			i++
		case data[i] == '#', bytes.HasPrefix(data[i:], []byte("//")):
			e := end(i, "\n")
			blank(i, e)
			i = e
		case bytes.HasPrefix(data[i:], []byte("/*")):
			e := end(i+2, "*/")
			blank(i, e)
			i = e
		default:
			i++
		}
	}
	return out
}

type jsonParser struct {
	d    *json.Decoder
	data []byte
	at   int64 // offset that line was counted to
	line int
}

// here is the line of the token that was just read.
func (p *jsonParser) here() int {
	off := min(p.d.InputOffset(), int64(len(p.data)))
	p.line += bytes.Count(p.data[p.at:off], []byte("\n"))
	p.at = off
	return p.line + 1
}

func (p *jsonParser) errorLine(err error) int {
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return bytes.Count(p.data[:min(s.Offset, int64(len(p.data)))], []byte("\n")) + 1
	}
	return p.here()
}

func (p *jsonParser) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	tok, err := p.d.Token()
	if err != nil {
		return node{}, err
	}
	n := node{line: p.here()}
	switch v := tok.(type) {
	case string:
		n.kind, n.text = isString, v
	case json.Number:
		n.kind, n.text = isNumber, v.String()
	case bool:
		n.kind, n.text = isBool, strconv.FormatBool(v)
	case nil:
		n.kind = isNull
	case json.Delim:
		if v == '[' {
			n.kind = isList
			for p.d.More() {
				item, err := p.value(depth + 1)
				if err != nil {
					return node{}, err
				}
				n.list = append(n.list, item)
			}
		} else {
			n.kind = isMap
			for p.d.More() {
				key, err := p.d.Token()
				if err != nil {
					return node{}, err
				}
				line := p.here()
				val, err := p.value(depth + 1)
				if err != nil {
					return node{}, err
				}
				n.pairs = append(n.pairs, pair{key.(string), line, val})
			}
		}
		if _, err := p.d.Token(); err != nil {
			return node{}, err
		}
	}
	return n, nil
}

// parseYAML reads the YAML form: YAML 1.2, so that "no" is a string.
func parseYAML(data []byte) (node, error) {
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return node{}, err
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return node{line: 1, kind: isMap}, nil
	}
	if len(f.Docs) > 1 {
		return node{}, errors.New("it has several documents")
	}
	c := yamlConverter{anchors: map[string]ast.Node{}, budget: 100_000}
	return c.convert(f.Docs[0].Body, 0)
}

type yamlConverter struct {
	anchors map[string]ast.Node
	budget  int // of nodes: aliases of aliases can multiply
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func (c *yamlConverter) convert(n ast.Node, depth int) (node, error) {
	c.budget--
	if depth > maxDepth || c.budget < 0 {
		return node{}, &lineError{lineOf(n), errors.New("nested too deep, or too large")}
	}
	out := node{line: lineOf(n)}
	switch v := n.(type) {
	case *ast.StringNode:
		out.kind, out.text = isString, v.Value
	case *ast.LiteralNode:
		out.kind, out.text = isString, v.Value.Value
	case *ast.IntegerNode, *ast.FloatNode:
		out.kind, out.text = isNumber, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.text = isBool, strconv.FormatBool(v.Value)
	case *ast.NullNode:
		out.kind = isNull
	case *ast.AnchorNode:
		c.anchors[v.Name.GetToken().Value] = v.Value
		return c.convert(v.Value, depth+1)
	case *ast.AliasNode:
		target, ok := c.anchors[v.Value.GetToken().Value]
		if !ok {
			return node{}, &lineError{out.line, fmt.Errorf("the alias *%s has no anchor", v.Value.GetToken().Value)}
		}
		return c.convert(target, depth+1)
	case *ast.SequenceNode:
		out.kind = isList
		for _, item := range v.Values {
			i, err := c.convert(item, depth+1)
			if err != nil {
				return node{}, err
			}
			out.list = append(out.list, i)
		}
	case *ast.MappingValueNode:
		return c.mapping(out, []*ast.MappingValueNode{v}, depth)
	case *ast.MappingNode:
		return c.mapping(out, v.Values, depth)
	default:
		return node{}, &lineError{out.line, fmt.Errorf("YAML tags and merge keys are not supported: %s", n.GetToken().Value)}
	}
	return out, nil
}

func (c *yamlConverter) mapping(out node, values []*ast.MappingValueNode, depth int) (node, error) {
	out.kind = isMap
	for _, mv := range values {
		key, err := c.convert(mv.Key, depth+1)
		if err != nil {
			return node{}, err
		}
		if key.kind != isString && key.kind != isNumber {
			return node{}, &lineError{key.line, fmt.Errorf("a key is %s", key.kind)}
		}
		val, err := c.convert(mv.Value, depth+1)
		if err != nil {
			return node{}, err
		}
		out.pairs = append(out.pairs, pair{key.text, key.line, val})
	}
	return out, nil
}
