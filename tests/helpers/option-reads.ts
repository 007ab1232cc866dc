import ts from "typescript";

/**
 * Which options of a schema the sources read, by what the compiler knows: a property access or a destructuring counts for the
 * option whose declaration it resolves to, so `monitor.enabled` says nothing about `dynamicSampling.enabled`. Where a section
 * is handed over as another type (`EngineOptions`), reads of that type's properties count for the section's options.
 */

export interface OptionReads {
  readonly options: readonly string[];
  readonly unread: readonly string[];
}

export interface OptionReadInput {
  readonly files: readonly string[];
  readonly compilerOptions: ts.CompilerOptions;
  /** The file that declares the options, and the type in it that holds all of them. */
  readonly schemaFile: string;
  readonly typeName: string;
  /** Files whose reads do not count: those that declare and check options. */
  readonly ignore: (file: string) => boolean;
}

/** A section may be handed on this often, each time as another type. */
const HANDOVERS = 4;

export function optionReads(input: OptionReadInput): OptionReads {
  const program = ts.createProgram([...input.files], input.compilerOptions);
  const checker = program.getTypeChecker();
  const schema = program.getSourceFile(input.schemaFile) as ts.SourceFile;
  const sources = program
    .getSourceFiles()
    .filter((file) => input.files.includes(file.fileName) && !input.ignore(file.fileName));

  /** Paths of the options that a declaration stands for. */
  const paths = new Map<ts.Node, Set<string>>();
  const pathsOf = (symbol: ts.Symbol): string[] =>
    (symbol.declarations ?? []).flatMap((declaration) => [...(paths.get(declaration) ?? [])]);
  const add = (symbol: ts.Symbol, added: Iterable<string>): boolean => {
    let grown = false;
    for (const declaration of symbol.declarations ?? []) {
      const known = paths.get(declaration) ?? new Set();
      paths.set(declaration, known);
      for (const path of added) {
        grown ||= !known.has(path);
        known.add(path);
      }
    }
    return grown;
  };
  /** The type that holds the options of a section: without null, and of a list its items. */
  const within = (type: ts.Type): ts.Type => {
    const present = checker.getNonNullableType(type);
    const item = checker.isArrayType(present) ? checker.getIndexTypeOfType(present, ts.IndexKind.Number) : undefined;
    return item ?? present;
  };

  const declare = (type: ts.Type, prefix: string): void => {
    for (const property of within(type).getProperties()) {
      if (!property.declarations?.some((declaration) => input.ignore(declaration.getSourceFile().fileName))) continue;
      const path = prefix === "" ? property.name : `${prefix}.${property.name}`;
      add(property, [path]);
      declare(checker.getTypeOfSymbol(property), path);
    }
  };
  const whole = schema.statements.find(
    (statement): statement is ts.TypeAliasDeclaration =>
      ts.isTypeAliasDeclaration(statement) && statement.name.text === input.typeName,
  ) as ts.TypeAliasDeclaration;
  declare(checker.getTypeAtLocation(whole.name), "");
  const options = [...new Set([...paths.values()].flatMap((set) => [...set]))];

  /** Lets the options of `from` stand for the equally named properties of `to`, too. */
  const link = (from: ts.Type, to: ts.Type): boolean => {
    if (from === to) return false;
    let grown = false;
    for (const property of within(from).getProperties()) {
      const known = pathsOf(property);
      const target = known.length > 0 ? within(to).getProperty(property.name) : undefined;
      if (target === undefined) continue;
      grown = add(target, known) || grown;
      grown = link(checker.getTypeOfSymbol(property), checker.getTypeOfSymbol(target)) || grown;
    }
    return grown;
  };
  const handOver = (node: ts.Node): boolean => {
    let grown = false;
    if (ts.isIdentifier(node) || ts.isPropertyAccessExpression(node)) {
      const { parent } = node;
      const target = ts.isSpreadAssignment(parent)
        ? checker.getContextualType(parent.parent)
        : checker.getContextualType(node);
      if (target !== undefined) grown = link(checker.getTypeAtLocation(node), target);
    }
    ts.forEachChild(node, (child) => {
      grown = handOver(child) || grown;
    });
    return grown;
  };
  for (let round = 0; round < HANDOVERS; round++) {
    if (!sources.map(handOver).includes(true)) break;
  }

  const read = new Set<string>();
  const note = (symbol: ts.Symbol | undefined): void => {
    for (const path of symbol === undefined ? [] : pathsOf(symbol)) read.add(path);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node)) note(checker.getSymbolAtLocation(node.name));
    if (ts.isBindingElement(node) && !node.dotDotDotToken && ts.isObjectBindingPattern(node.parent)) {
      const name = node.propertyName ?? node.name;
      if (ts.isIdentifier(name)) note(within(checker.getTypeAtLocation(node.parent)).getProperty(name.text));
    }
    ts.forEachChild(node, visit);
  };
  for (const source of sources) visit(source);
  return { options, unread: options.filter((path) => !read.has(path)) };
}
