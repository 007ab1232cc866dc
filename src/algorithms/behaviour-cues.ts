import type { Behaviour } from "../contracts/behaviour.js";

/**
 * The phrases by which behaviours are found: a pattern with a sentence that it finds. Patterns ignore case, stay within a sentence
 * (`WITHIN` ends at its punctuation) and have bounded gaps only, so that a search takes time linear in the text.
 */
export interface Cue {
  readonly pattern: string;
  readonly example: string;
}

const cue = (pattern: RegExp, example: string): Cue => ({ pattern: pattern.source, example });

/** What a response may call the text that it was given. */
const SOURCE =
  "(?:documents?|texts?|passages?|articles?|contexts?|paragraphs?|reports?|tables?|story|excerpts?|transcripts?|papers?|sources?|sections?|chapters?|footnotes?|notes?|contracts?|filings?|narrator|authors?)";
const THE_SOURCE = `(?:the|this|that|these|each|our|given|provided|first|second|third|last|next) (?:(?:given|provided|first|second|third|last|relevant|original|above) )?${SOURCE}`;
const WITHIN = "[^.?!\\n。！？]";
const SAYS =
  "(?:says?|said|states?|stated|mentions?|writes?|reports?|notes|indicates?|describes?|shows?|lists?|explains?|gives?|reads|tells?|provides?|confirms?|specif(?:y|ies)|claims?|points? out)";
const AIM =
  "(?:find|determine|identify|figure|work out|compute|calculate|establish|locate|list|get|know|answer|combine|compare|look for|see|check|verify|read|extract|count|add|the|two|three|four)";

const GROUNDING: readonly Cue[] = [
  cue(new RegExp(`\\b(?:according to|based on|from|per) ${THE_SOURCE}\\b`), "From the given context, there were nine."),
  cue(
    new RegExp(`\\b${SOURCE} (?:\\d+ )?(?:plainly |clearly |also |explicitly )?(?:does(?:n't| not) )?${SAYS}\\b`),
    "The report states that profits fell.",
  ),
  cue(
    new RegExp(
      `\\b(?:stated|mentioned|described|written|listed|noted|given|reported|said|found) (?:above )?in ${THE_SOURCE}\\b`,
    ),
    "As mentioned in the article, it froze.",
  ),
  cue(new RegExp(`\\b(?:in|on) (?:${THE_SOURCE}|${SOURCE} \\d+|page \\d+)\\b`), "In paragraph 4 a date is named."),
  cue(
    new RegExp(
      `\\b(?:look(?:ing)?|go(?:ing)?|going|check(?:ing)?|search(?:ing)?|scan(?:ning)?|turn(?:ing)?|read(?:ing)?|re-?read(?:ing)?)\\b${WITHIN}{0,20}\\b${THE_SOURCE}\\b`,
    ),
    "Looking back at the text, it was Geneva.",
  ),
  cue(/\bre-?read(?:ing)?\b/, "I re-read the part on the election."),
  cue(new RegExp(`\\b(?:against|with) ${THE_SOURCE}\\b`), "I compare it against the text."),
  cue(new RegExp(`\\b${SOURCE} (?:has to say|contains?|tells us)\\b`), "The story tells us that he survived."),
  cue(
    /\bthe relevant (?:sentence|passage|part|section|line|information|paragraph)\b/,
    "The relevant sentence is on her work.",
  ),
  cue(new RegExp(`\\b(?:quot(?:e|ing)|recall from) ${THE_SOURCE}\\b`), "I recall from the story that he left."),
  cue(
    /(?:^|\n)\W{0,3}(?:passage|document|paragraph|section|article|chapter) \d+ ?:/,
    "Passage 7: the mill burned down.",
  ),
  cue(/(?:根据|依据)[^。！？\n]{0,4}(?:文章|文本|文档|文中|材料|上文|原文|段落|资料)/, "根据文章，桥已开通。"),
  cue(/(?:文章|文本|文档|文|材料)中?(?:提到|指出|写道|说|提及|显示|描述)|文中|原文/, "文中提到他在开会。"),
  cue(
    new RegExp(
      `\\b${THE_SOURCE}(?: \\d+)?\\b(?:(?! was | were )${WITHIN}){0,25}? (?:${SAYS}|names|introduces|talks? about|discusses|refers to|puts it|adds|concludes|argues|give|show)\\b`,
    ),
    "The text about the fair gives a number.",
  ),
  cue(/\bi see (?:here|there|in|from)\b|\bit (?:says|states|mentions|reads)\b/, "It says that she left."),
];

const MUST =
  "(?:'ll| will| need to| have to| should| must| want to| would like to|'m going to| am going to| are going to)";

const SUBGOAL_SETTING: readonly Cue[] = [
  cue(
    new RegExp(
      `\\b(?:first|second|third|then|next|now|finally|lastly|after that|so|for that|to begin|to start)(?: of all)?,? (?:now )?(?:i|we)(?:'ll)?(?:${MUST})? ?(?:also |first )?(?:need|have to|must|should|will|want to)? ?${AIM}\\b`,
    ),
    "First, I need to find the director.",
  ),
  cue(
    /\b(?:i|we)(?:'ll)? (?:also |first |still )?(?:need|have|must|should|want)(?: to)? (?:first |also )?(?:find|determine|identify|figure out|work out|compute|calculate|establish|locate|list|get|know|look for|combine)\b/,
    "I need to find the year.",
  ),
  cue(
    /\bwe'?(?:ll| will) need to\b|\bwhat (?:i|we) need\b|\b(?:i|we) need (?:two|three|four|the|both)\b/,
    "What we need is the rate.",
  ),
  cue(
    /\b(?:let me|let's|let us|i'll|i will|we'll|we will|we can)\b[^.?!\n。！？]{0,12}\b(?:first|start|begin|break|split|divide|tackle)\b/,
    "Let's start by listing the names.",
  ),
  cue(
    /\bnow,? (?:let me|let's|let us) (?:find|determine|identify|figure out|work out|compute|calculate|establish|locate|list|get|look for|combine)\b/,
    "Now let's calculate the average.",
  ),
  cue(
    /\bbreak(?:ing)? (?:this|it|that|the \w+)(?: down)? into\b|\bsplit(?:ting)? the (?:question|problem|task)\b/,
    "I break it down into parts.",
  ),
  cue(/(?:^|\n)\W{0,3}step \d+ ?[:.)-]/, "Step 1: identify the year."),
  cue(
    /\bthe (?:first|second|third|next|last|final|remaining) (?:step|task|thing|part|question) (?:is|to)\b/,
    "The first step is to locate the ship.",
  ),
  cue(/\bsub-?(?:questions?|goals?|problems?|tasks?|steps?)\b/, "One sub-question is who founded it."),
  cue(/\b(?:two|three|four|five|several) (?:parts|things|steps|pieces|questions)\b/, "The question has two parts."),
  cue(/\b(?:to|in order to) (?:answer|solve|do) (?:this|that|it|the question)\b/, "To answer this, we need two facts."),
  cue(/\b(?:my|the|our) plan is\b|(?:^|\n)\W{0,3}plan ?:/, "My plan is to add the two."),
  cue(/首先[^。！？\n]{0,6}(?:需要|要|得|找|确定|看|计算|弄清)|第一步/, "首先，我需要找到导演。"),
  cue(
    /接下来[^。！？\n]{0,4}(?:需要|要|得)|(?:我|我们)(?:需要|得|要)先?(?:找|确定|弄清|计算|知道)/,
    "接下来要确定哪条河更长。",
  ),
  cue(/(?:分成|分为|拆分|分解)[^。！？\n]{0,8}(?:步|部分|问题)|子问题|步骤[一二三四五\d]/, "这个问题分成两个部分。"),
  cue(
    /\b(?:my|the|our)(?: next| first| main)? (?:task|goal|aim|objective|target)(?: now| here| then)? is\b/,
    "The goal now is the river.",
  ),
  cue(/\bstep (?:one|two|three|four)\b/, "So step one is the album."),
  cue(
    /\b(?:let me|let's|let us|i'll|we'll) (?:first )?(?:list|find|identify|figure out|work out|determine|see what|look for|gather|collect|consider each|go through each)\b/,
    "Let me list the events.",
  ),
  cue(
    /\b(?:i|we)(?:'ll)? (?:should|could|must|need to|have to) (?:first )?(?:look at|look up|consider|go through|examine|compare|combine)\b/,
    "We should look at each of them.",
  ),
];

const BACKTRACKING: readonly Cue[] = [
  cue(
    /(?:^|[.?!,;…\n] {0,2}|\b(?:but|oh|hmm|no|so),? )(?:wait|hold on|hang on)\b(?= ?[,.!?…—-]|,? (?:no|that|there|this|the|it|but|actually|i)\b)(?!,? (?:let me (?:double|check|verify|confirm|make sure)))/,
    "Wait, that is another person.",
  ),
  cue(/(?:^|[.?!\n] {0,2})(?:hmm,? |oh,? )?no, /, "No, the capital is Canberra."),
  cue(
    /\b(?:that|this|it|which)(?:'s| is| was| can't be| cannot be| isn't| is not| wasn't| doesn't seem| does not seem| seems| must be) ?(?:not )?(?:wrong|incorrect|mistaken|right|an error|a mistake|a dead end)\b(?<!\b(?:is|was|'s|be|seems) right)|\b(?:that|this|it)(?: can't be| cannot be| isn't| is not| wasn't| doesn't seem) right\b/,
    "That can't be right.",
  ),
  cue(
    /\bi(?:'ve| have| must have| may have| might have)? (?:just )?(?:made (?:a |an )?(?:mistake|error)|misread|misremembered|misunderstood|miscounted|overlooked|confused|mixed up|missed|took the wrong)\b/,
    "I misread the date.",
  ),
  cue(/\b(?:i|we) (?:was|were|am|are) (?:wrong|mistaken)\b/, "I was wrong about the year."),
  cue(
    /\b(?:my|our|the) (?:earlier|previous|first|initial|last) (?:answer|assumption|claim|calculation|reading|guess|interpretation|approach|conclusion)s?\b[^.?!\n。！？]{0,16}\b(?:wrong|incorrect|mistaken|fails?|dropped|off)\b/,
    "My earlier assumption was incorrect.",
  ),
  cue(/\bon second thoughts?\b|\bscratch that\b|\bcorrection ?:/, "On second thought, it was his brother."),
  cue(
    /\b(?:try|use|take|need) (?:a different|another|the other) (?:approach|way|method|formula|route|angle)\b/,
    "I try a different approach.",
  ),
  cue(
    /\b(?:start(?:ing)? (?:over|again|from scratch)(?! under)|back to the (?:start|beginning|drawing board|list|question)|from the beginning)(?= ?[,.;!?]|$| of)/,
    "Let me start over.",
  ),
  cue(/\b(?:reconsider|rethink|revise|backtrack|re-?evaluate)\b/, "I should reconsider the company."),
  cue(
    /\b(?:doesn't|does not|didn't|did not) (?:work|fit)\b|\b(?:approach|method)\b[^.?!\n。！？]{0,12}\bfails\b|\bdead end\b/,
    "That doesn't work.",
  ),
  cue(/\bcontradicts? (?:what|my|the earlier|the previous)\b/, "This contradicts what I found."),
  cue(/\bactually,? (?:no|that|i|it|wait|the)\b/, "Actually, it was the second one."),
  cue(/(?:^|[.?!\n] {0,2})alternatively\b/, "Alternatively, it is the other lake."),
  cue(
    /\b(?:an error|a mistake|my mistake|mistake) on my part\b|(?:^|[.?!\n] {0,2})(?:sorry|my mistake|oops)\b/,
    "Sorry, it was 1987.",
  ),
  cue(
    /等等|等一下|不对|不是这样|[弄搞算看记理解]错了?|重新(?:考虑|来|思考|想)|换[一种个]{1,2}(?:思路|方法|角度)/,
    "不对，他已经去世了。",
  ),
  cue(
    /\b(?:wait|hold on|hang on),? (?:a|one|just a) (?:second|moment|minute|sec)\b/,
    "Wait a second, it was another band.",
  ),
  cue(/\b(?:doesn't|does not|don't|didn't) (?:add up|make sense|match|hold)\b/, "That doesn't add up."),
  cue(/\b(?:isn't|is not|wasn't) what (?:the question|i|we)\b/, "That isn't what the question asks."),
  cue(/\b(?:too (?:quick|hasty)|jumped to|never mind|my bad|take that back)\b/, "I was too quick here."),
  cue(/\blet(?: me|'s| us) try\b/, "Let me try the other definition."),
  cue(/\b(?:i|we) should have\b|\bbut it should\b/, "I should have used 2017."),
  cue(
    /\bi (?:previously|earlier|first|initially) (?:said|thought|assumed|wrote|took|read)\b|\bi (?:said|thought|assumed) (?:earlier|before)\b/,
    "I previously said 14.",
  ),
  cue(
    /\b(?:my|the) (?:first|earlier|initial) \w+ was (?:off|wrong|incorrect|not right)\b|\b(?:looking at|using|reading|used|took) the wrong\b/,
    "My first reading was off.",
  ),
  cue(
    /\b(?:which|that|this|it)(?:'s| is) impossible\b|\bcan't be the case\b/,
    "He was born later, which is impossible.",
  ),
];

const VERIFICATION: readonly Cue[] = [
  cue(
    /\b(?:let me|let's|let us|i'll|i will|i should|i need to|i must|we should|we can|we need to|to)\b[^.?!\n。！？]{0,12}\b(?:double-?check|verify|confirm|make sure|be sure|cross-?check|re-?check|validate|check (?:if|whether|that|this|it|the (?:sum|answer|result|total|calculation|arithmetic|units?|math|numbers?)))\b/,
    "Let me verify the sum.",
  ),
  cue(/\bdouble-?check(?:ing)?\b|\bcross-?check(?:ing)?\b|\bsanity[ -]check\b/, "As a sanity check, it is below 1."),
  cue(
    /(?:^|[.?!\n] {0,2})(?:checking|verifying|verification|check)\b(?: ?:|[^.?!\n。！？]{0,20}\b(?:arithmetic|sum|answer|result|calculation|again)\b)/,
    "Checking the arithmetic again: 25.",
  ),
  cue(
    /\b(?:that|this|it|which|answer|result|total|sum)(?: also| all)? (?:matches|agrees with|checks out|adds up|fits (?:together|all|with)|confirms (?:the|that|my|this))\b/,
    "That matches the total.",
  ),
  cue(
    /\b(?:the )?(?:numbers|figures|dates|results) (?:all )?(?:add up|match|agree|check out)\b/,
    "The numbers add up.",
  ),
  cue(/\bconsistent with\b/, "This is consistent with the date."),
  cue(
    /\b(?:does|do|is|are) (?:this|that|it|these) (?:answer )?(?:make sense|right|correct|consistent|fit|hold)\b[^.?!\n。！？]{0,20}\?/,
    "Is that correct?",
  ),
  cue(/\bplug(?:ging)?\b[^.?!\n。！？]{0,20}\b(?:back )?in(?:to)?\b/, "Plugging it back in gives 14."),
  cue(
    /\b(?:see|test|check|ask) (?:if|whether) (?:that|this|it|the)\b|\btest (?:the|this|my) (?:answer|result)\b/,
    "I test the answer by adding.",
  ),
  cue(
    /\b(?:re-?counting|recalculating|recomputing|counting again|count(?:s)?\b[^.?!\n。！？]{0,20}\bagain)\b/,
    "Recounting gives the same number.",
  ),
  cue(/(?:^|[.?!\n] {0,2})yes, (?:that|this|it)(?:'s| is) (?:right|correct)\b/, "Yes, that is right."),
  cue(/检查|核对|验证|核实|再确认|验算|是否(?:正确|一致|合理)|(?:吻合|一致|相符)/, "让我再检查一下。"),
  cue(/\bto be (?:safe|sure|certain|thorough|on the safe side)\b/, "I recompute it to be safe."),
  cue(/\blet(?: me|'s| us) (?:just )?(?:check ?:|recompute|recalculate|recount|re-?do)/, "Let me recompute the sum."),
  cue(/\b(?:so|and|indeed|yes),? (?:that's|that is|this is|it is) (?:right|correct)\b/, "It is 56, so that's right."),
  cue(
    /\b(?:conditions|constraints|requirements|clues) (?:are|is) (?:all )?(?:met|satisfied|fulfilled)\b|\b(?:still holds|holds up|answer holds)\b/,
    "All conditions are met.",
  ),
  cue(
    /\bjust checking\b|\b(?:go|going|went) over\b[^.?!\n。！？]{0,20}\b(?:again|once more)\b/,
    "Just checking that no one else fits.",
  ),
  cue(/(?:^|[.?!,\n] {0,2}|\byes, )(?:this|that|it) (?:works|fits)\b/, "Yes, this works."),
  cue(
    /\b(?:is|are) there any(?:one| other|body|thing)?(?: else)?\b[^.?!\n。！？]{0,40}\?/,
    "Is there any other candidate?",
  ),
];

/** Cues of each behaviour. */
export const CUES: Readonly<Record<Behaviour, readonly Cue[]>> = {
  grounding: GROUNDING,
  subgoal_setting: SUBGOAL_SETTING,
  backtracking: BACKTRACKING,
  verification: VERIFICATION,
};
